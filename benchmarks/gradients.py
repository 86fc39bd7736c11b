"""What the gradient engine costs, beside plain training and beside the ways to the same numbers that others offer.

Every contestant of a case makes the same update: the AND-mask of the gradients of all environments, or PCGrad where
it is named, then Adam. Contestants take turns within one process, and medians of their times are divided. The engine
checks itself at its 1st, 2nd, 4th, 8th … step, and these are not timed. Peak memory is what a step has allocated at
most, together with the parameters, the optimizer's state and the engine's buffers.

Other tools take part where they are installed: pip install torchjd opacus backpack-for-pytorch.

    python benchmarks/gradients.py [--rounds 15] [--threads 2] [--device cpu] [--cases mlp,convnet] [--output PAGE]
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from holdfast.gradients import AndMask, GradientEngine, GramianEngine, PCGrad

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks" / "gradients.md"
MASK = AndMask(0.2)
WARM_UP = 5  # an odd number: from here on every second step is measured, none that the engine checks
SECONDS = 5  # a contestant that has run so long, three times at least, takes no further turn
Step = Callable[[], object]


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with leaky rectifiers between them."""
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


def convnet() -> nn.Sequential:
    """Four convolutions of 32, 64, 128 and 256 channels with group normalisation, each followed by pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128, 256):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * channels, 10))


class Residual(nn.Module):
    """The basic block of ResNet-18 with group normalisation."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.GroupNorm(8, after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.GroupNorm(8, after),
        )
        self.short = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.short(x))


def resnet18() -> nn.Sequential:
    """ResNet-18 for small images."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.GroupNorm(8, 64), nn.ReLU()]
    channels = 64
    for width in (64, 128, 256, 512):
        layers += [Residual(channels, width, 1 if width == 64 else 2), Residual(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class TransformerBlock(nn.Module):
    """Causal attention and a perceptron, normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.split, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, width = x.shape
        heads = self.split(self.norm1(x)).view(rows, tokens, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.join(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Four blocks of width 128 over 64 tokens of 256 kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(256, 128), nn.Embedding(64, 128)
        self.blocks = nn.Sequential(*(TransformerBlock(128, 4) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions(positions))))


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(B,) losses; over tokens, their mean."""
    if outputs.ndim == 2:
        return F.cross_entropy(outputs, y, reduction="none")
    return F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)


def binary_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(B,) losses."""
    return F.binary_cross_entropy_with_logits(outputs.squeeze(1), y, reduction="none")


@dataclass(frozen=True)
class Case:
    """A model, its data, and what is claimed of it.

    Attributes:
        name: Short, for ``--cases``.
        title: For the table.
        model: Makes it.
        x: (B, …) inputs.
        y: (B, …) targets.
        environments: E; equal and contiguous.
        loss: Per-example.
        contestants: Names of those that take part besides ``erm`` and ``holdfast``.
        reach: For each of these and ``erm``, and for their ``memory``, the ratio to be reached.
        ours: The contestant of this project.
    """

    name: str
    title: str
    model: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    environments: int
    loss: Callable[[Tensor, Tensor], Tensor]
    contestants: Sequence[str]
    reach: dict[str, str]
    ours: str = "holdfast"

    @property
    def groups(self) -> Tensor:
        """(B,) environments."""
        return torch.arange(self.environments, device=self.x.device).repeat_interleave(len(self.x) // self.environments)

    def split(self, tensor: Tensor) -> Tensor:
        """(E, B/E, …)."""
        return tensor.unflatten(0, (self.environments, -1))


def cases(device: str) -> list[Case]:
    """All of them."""
    torch.manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape).to(device)

    def classes(count: int, *shape: int) -> Tensor:
        return torch.randint(0, count, shape).to(device)

    tools = ("torchjd",)
    per_example_tools = ("BackPACK", "Opacus", "torchjd")
    small = (normal(4096, 18), classes(2, 4096).float())
    return [
        Case(
            "mlp", "MLP 18-256-256-256-1, 16 environments × 256", lambda: mlp(18, 256, 256, 256, 1), *small, 16,
            binary_cross_entropy, ("published loop", "loop of forward and backward", "vmap", *tools),
            {"erm": "≤ 1.15", "published loop": "≥ 10", "loop of forward and backward": "≥ 1.2", "vmap": "≥ 1.2",
             "torchjd": "> 1"},
        ),
        Case(
            "mlp-rows", "the same, 4,096 environments of one row", lambda: mlp(18, 256, 256, 256, 1), *small, 4096,
            binary_cross_entropy, (), {"memory of 16 environments": "≤ 1.1"},
        ),
        Case(
            "digits", "MLP 784-256-256-10, 16 environments × 16", lambda: mlp(784, 256, 256, 10), normal(256, 784),
            classes(10, 256), 16, cross_entropy, ("published loop", "loop of forward and backward", "vmap", *tools),
            {"loop of forward and backward": "≥ 1.2", "vmap": "≥ 1.2", "torchjd": "> 1"},
        ),
        Case(
            "digits-rows", "MLP 784-512-512-10, batch 512, per example", lambda: mlp(784, 512, 512, 10),
            normal(512, 784), classes(10, 512), 512, cross_entropy, ("vmap", *per_example_tools),
            {"erm": "≤ 1.5", "memory": "≤ 1.2", "BackPACK": "> 1", "Opacus": "> 1", "torchjd": "> 1"},
        ),
        Case(
            "convnet", "convnet 32-64-128-256, GroupNorm, 32 × 32 images, batch 80, per example", convnet,
            normal(80, 3, 32, 32), classes(10, 80), 80, cross_entropy, ("vmap", "Opacus"),
            {"erm": "≤ 1.2", "vmap": "≥ 1.4", "memory of vmap": "≤ 0.25", "Opacus": "> 1"},
        ),
        Case(
            "resnet", "ResNet-18, GroupNorm, 32 × 32 images, 16 environments × 16", resnet18, normal(256, 3, 32, 32),
            classes(10, 256), 16, cross_entropy, (), {"erm": "≤ 1.3"},
        ),
        Case(
            "transformer", "transformer 4 × 128, 64 tokens, batch 32, per example", Transformer, classes(256, 32, 64),
            classes(256, 32, 64), 32, cross_entropy, ("vmap",), {"erm": "≤ 1.8"},
        ),
        Case(
            "pcgrad", "PCGrad, MLP 784-256-256-10, 16 environments × 16", lambda: mlp(784, 256, 256, 10),
            normal(256, 784), classes(10, 256), 16, cross_entropy, ("torchjd PCGrad", "torchjd autogram PCGrad"),
            {"torchjd PCGrad": "> 1", "torchjd autogram PCGrad": "> 1"}, "holdfast PCGrad",
        ),
    ]  # fmt: skip


class Skipped(Exception):
    """A contestant that cannot take part, and why."""


def assign(model: nn.Module, gradients: Sequence[Tensor]) -> None:
    """Make ``.grad`` the AND-mask of (E, *shape) gradients of mean losses, as the papers' code does."""
    for p, g in zip(model.parameters(), gradients, strict=True):
        mask = g.sign().sum(0).abs() >= MASK.threshold * len(g)
        p.grad = torch.where(mask, g.mean(0) / (1e-10 + mask.float().mean()), 0.0)


def erm(case: Case, model: nn.Module) -> Step:
    """Plain training."""
    return lambda: case.loss(model(case.x), case.y).mean().backward()


def holdfast(case: Case, model: nn.Module) -> Step:
    """The engine of this project."""
    engine = GradientEngine(model)
    groups = "per-example" if case.environments == len(case.x) else case.groups

    def step() -> None:
        engine.backward(case.loss(model(case.x), case.y), groups, aggregator=MASK)

    step.engine = engine  # type: ignore[attr-defined]
    return step


def published_loop(case: Case, model: nn.Module) -> Step:
    """One forward pass, then one pass of ``autograd.grad`` per environment through the pooled graph."""
    parameters = list(model.parameters())

    def step() -> None:
        means = case.split(case.loss(model(case.x), case.y)).mean(1)
        gradients = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in means]
        assign(model, [torch.stack(g) for g in zip(*gradients, strict=True)])

    return step


def separate_loop(case: Case, model: nn.Module) -> Step:
    """One forward and one backward pass per environment."""
    parameters = list(model.parameters())
    xs, ys = case.split(case.x), case.split(case.y)

    def step() -> None:
        gradients = [
            torch.autograd.grad(case.loss(model(x), y).mean(), parameters) for x, y in zip(xs, ys, strict=True)
        ]
        assign(model, [torch.stack(g) for g in zip(*gradients, strict=True)])

    return step


def mapped(chunk: int | None) -> Callable[[Case, nn.Module], Step]:
    """``vmap(grad)`` over environments, in chunks."""

    def build(case: Case, model: nn.Module) -> Step:
        parameters = dict(model.named_parameters())

        def objective(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return case.loss(functional_call(model, values, (x,)), y).mean()

        gradient = vmap(grad(objective), (None, 0, 0), chunk_size=chunk)
        xs, ys = case.split(case.x), case.split(case.y)

        def step() -> None:
            gradients = gradient({name: p.detach() for name, p in parameters.items()}, xs, ys)
            assign(model, [gradients[name] for name in parameters])

        return step

    return build


def with_torchjd(case: Case, model: nn.Module) -> Step:
    """The E × P Jacobian of the mean losses."""
    from torchjd.autojac import backward

    def step() -> None:
        backward(case.split(case.loss(model(case.x), case.y)).mean(1), parallel_chunk_size=None)
        gradients = [p.jac for p in model.parameters()]
        assign(model, gradients)
        for p in model.parameters():
            del p.jac

    return step


def pcgrad(case: Case, model: nn.Module) -> Step:
    """The Gramian engine of this project."""
    engine = GramianEngine(model)

    def step() -> None:
        engine.backward(case.loss(model(case.x), case.y), case.groups, weighting=PCGrad())

    step.engine = engine._engine  # type: ignore[attr-defined]
    return step


def torchjd_pcgrad(case: Case, model: nn.Module) -> Step:
    """PCGrad on the E × P Jacobian."""
    from torchjd.aggregation import PCGrad
    from torchjd.autojac import backward, jac_to_grad

    def step() -> None:
        backward(case.split(case.loss(model(case.x), case.y)).mean(1), parallel_chunk_size=None)
        jac_to_grad(model.parameters(), PCGrad())

    return step


def torchjd_autogram(case: Case, model: nn.Module) -> Step:
    """PCGrad on the Gramian alone, then an ordinary backward pass."""
    from torchjd.aggregation import PCGradWeighting
    from torchjd.autogram import Engine

    engine, weighting = Engine(model, batch_dim=None), PCGradWeighting()

    def step() -> None:
        means = case.split(case.loss(model(case.x), case.y)).mean(1)
        means.backward(weighting(engine.compute_gramian(means)))

    return step


def with_backpack(case: Case, model: nn.Module) -> Step:
    """Gradients of single examples."""
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    extend(model)
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def step() -> None:
        with backpack(BatchGrad()):
            loss(model(case.x), case.y).backward()
        assign(model, [p.grad_batch for p in model.parameters()])
        for p in model.parameters():
            del p.grad_batch

    return step


def with_opacus(case: Case, model: nn.Module) -> Step:
    """Gradients of single examples."""
    from opacus import GradSampleModule

    sampled = GradSampleModule(model, loss_reduction="sum")

    def step() -> None:
        case.loss(sampled(case.x), case.y).sum().backward()
        assign(model, [p.grad_sample for p in model.parameters()])
        for p in model.parameters():
            p.grad_sample = None

    return step


CONTESTANTS: dict[str, Sequence[Callable[[Case, nn.Module], Step]]] = {
    "erm": [erm],
    "holdfast": [holdfast],
    "published loop": [published_loop],
    "loop of forward and backward": [separate_loop],
    "vmap": [mapped(None), mapped(16)],
    "torchjd": [with_torchjd],
    "holdfast PCGrad": [pcgrad],
    "torchjd PCGrad": [torchjd_pcgrad],
    "torchjd autogram PCGrad": [torchjd_autogram],
    "BackPACK": [with_backpack],
    "Opacus": [with_opacus],
}


@dataclass(frozen=True)
class Measured:
    """Of one contestant: median seconds of a step, and bytes at its peak; or why it did not take part."""

    seconds: float = float("nan")
    peak: float = float("nan")
    skipped: str = ""


def update(case: Case, build: Callable[[Case, nn.Module], Step], model: nn.Module) -> Step:
    """A whole update: zero_grad, what the contestant does, Adam."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    gradient = build(case, model)

    def step() -> None:
        optimizer.zero_grad()
        gradient()
        optimizer.step()

    engine = getattr(gradient, "engine", None)
    held = sum(p.numel() * p.element_size() for p in model.parameters()) * 3
    step.held = lambda: held + (engine.buffer_bytes if engine else 0)  # type: ignore[attr-defined]
    for _ in range(WARM_UP):
        step()
    return step


def measure(case: Case, rounds: int) -> dict[str, Measured]:
    """All contestants of a case in turns; of several variants of one, the fastest."""
    model = case.model().to(case.x.device)
    steps: dict[tuple[str, int], Step] = {}
    skipped: dict[str, Measured] = {}
    for name in ("erm", case.ours, *case.contestants):
        for variant, build in enumerate(CONTESTANTS[name]):
            try:
                steps[name, variant] = update(case, build, model)
            except ImportError as error:
                skipped[name] = Measured(skipped=f"{error.name} is not installed")
    times: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    for _ in range(rounds):
        for key, step in steps.items():
            if len(times[key]) > 2 and sum(times[key]) > SECONDS:
                continue
            step()  # the caches are its own again
            times[key].append(timed(step, case.x.device))
    medians = {key: statistics.median(values) for key, values in times.items()}
    best = {name: min((k for k in steps if k[0] == name), key=lambda k: medians[k]) for name, _ in steps}
    return {name: Measured(medians[key], peak_bytes(steps[key], case.x.device)) for name, key in best.items()} | skipped


def timed(step: Step, device: torch.device) -> float:
    """Seconds of one step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(step: Step, device: torch.device) -> float:
    """The most that a step has allocated at a time, and what is held between steps."""
    step()  # an untimed turn, so that the next is no checked one either
    held = step.held()  # type: ignore[attr-defined]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    now = peak = 0
    events = recorded.profiler.kineto_results.events()
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return held + peak


def row(case: Case, found: dict[str, Measured], others: dict[str, dict[str, Measured]]) -> list[str]:
    """Lines of the table."""
    ours, plain = found[case.ours], found["erm"]
    lines = []

    def line(against: str, measured: str) -> None:
        lines.append(f"| {case.title} | {against} | {measured} | {case.reach.get(against, '')} |")

    line("erm", f"{ours.seconds / plain.seconds:.2f}× its time ({1e3 * plain.seconds:.1f} ms)")
    line("memory", f"{ours.peak / plain.peak:.2f}× the peak memory of erm ({plain.peak / 2**20:.1f} MiB)")
    for name in case.contestants:
        other = found[name]
        if other.skipped:
            line(name, f"skipped: {other.skipped}")
            continue
        line(name, f"{other.seconds / ours.seconds:.2f}× faster ({1e3 * other.seconds:.1f} ms)")
        line(f"memory of {name}", f"{ours.peak / other.peak:.2f}×")
    if case.name == "mlp-rows" and "mlp" in others:
        line("memory of 16 environments", f"{ours.peak / others['mlp']['holdfast'].peak:.2f}×")
    return lines


def machine(device: str, threads: int) -> str:
    """What it ran on."""
    cpu = Path("/proc/cpuinfo").read_text().split("model name")[1].split("\n")[0].strip("\t :")
    what = torch.cuda.get_device_name() if device == "cuda" else f"{cpu}, {os.cpu_count()} cores"
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    for package in ("torchjd", "opacus", "backpack-for-pytorch"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{what}; {threads} threads; {', '.join(versions)}; {datetime.now(UTC):%Y-%m-%d}"


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", default="", help="names separated by commas; all by default")
    parser.add_argument("--output", type=Path, default=PAGE)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    wanted = arguments.cases.split(",") if arguments.cases else None
    results: dict[str, dict[str, Measured]] = {}
    lines = []
    for case in cases(arguments.device):
        if wanted is None or case.name in wanted:
            results[case.name] = measure(case, 3 if case.name == "resnet" else arguments.rounds)
            lines += row(case, results[case.name], results)
            print(*lines[-len(row(case, results[case.name], results)) :], sep="\n", flush=True)
    description = " ".join((__doc__ or "").split("\n\n")[1].split())
    page = [
        "# The gradient engine",
        "",
        "Written by `python benchmarks/gradients.py`. " + description,
        "",
        f"Machine: {machine(arguments.device, arguments.threads)}. Load of the machine at the end, "
        f"this benchmark included: {os.getloadavg()[0]:.1f}.",
        "",
        "| case | against | measured | to be reached |",
        "|---|---|---|---|",
        *lines,
        "",
    ]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n".join(page))


if __name__ == "__main__":
    main()
