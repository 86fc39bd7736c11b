"""Several trainings as one program against one after another.

Run with ``python benchmarks/fit_many.py``; it prints the table and writes ``docs/benchmarks/fit_many.md``.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.task import TrainingView
from holdfast.gradients import AndMask
from holdfast.losses import MeanOfEnvironments, VarianceOfRisks
from holdfast.models.mlp import MLP
from holdfast.training import Adam, Budget, GradientStep, LogSchedule, Member, Trainer, fit_many

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "fit_many.md"
STEPS, REPEATS, BATCH, CLASSES = 200, 5, 64, 10
MODEL = MLP(hidden=(64,))

CASES: dict[str, Callable[[int], GradientStep]] = {
    "`erm`, seeds": lambda k: GradientStep(),
    "`erm`, learning rates and weight decays": lambda k: GradientStep(
        optimizer=Adam(lr=1e-3 * 1.05**k, weight_decay=1e-4 * k)
    ),
    "`v-rex`, seeds": lambda k: GradientStep(risk=MeanOfEnvironments(), penalties=[(10.0, VarianceOfRisks())]),
    "`and-mask`, seeds": lambda k: GradientStep(aggregator=AndMask(1.0)),
}


def view() -> TrainingView:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4096, 64, generator=rng)
    data = Dataset(x, torch.randint(CLASSES, (4096,), generator=rng), Column(torch.arange(4096) % 2, ("a", "b")))
    return TrainingView("classification", tuple(map(str, range(CLASSES))), CLASSES, (64,), MODEL, {"train": data})


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return MODEL.build((64,), CLASSES)


def trainer(seed: int = 0) -> Trainer:
    return Trainer(seed=seed, budget=Budget(STEPS), batch_size=BATCH)


def apart(step: Callable[[int], GradientStep], members: int, rows: TrainingView) -> float:
    """Seconds of members one after another."""
    networks = [network(k) for k in range(members)]
    start = time.perf_counter()
    for k, net in enumerate(networks):
        trainer(k).fit(net, rows, step(k), keep=LogSchedule())
    return time.perf_counter() - start


def together(step: Callable[[int], GradientStep], members: int, rows: TrainingView) -> float:
    """Seconds of the members as one program."""
    all_members = [Member(k, network(k), step(k)) for k in range(members)]
    start = time.perf_counter()
    fit_many(trainer(), all_members, rows)
    return time.perf_counter() - start


def page() -> str:
    """The table as Markdown."""
    lines = [
        "# Many trainings at once",
        "",
        f"Written by `python benchmarks/fit_many.py` on {date.today().isoformat()}: Python "
        f"{platform.python_version()}, torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} "
        f"threads for both, medians of {REPEATS} interleaved runs. Networks 64-64-10, batches of {BATCH} rows from two "
        f"environments, {STEPS} updates, on one data set in memory. `fit_many` against `Trainer.fit` for each member.",
        "",
        "| what differs | members | one after another, ms an update | as one program, ms an update | ratio |",
        "|---|---|---|---|---|",
    ]
    rows = view()
    for name, step in CASES.items():
        for members in (16, 64):
            taken: dict[str, list[float]] = {"apart": [], "together": []}
            for _ in range(REPEATS):
                taken["apart"].append(apart(step, members, rows))
                taken["together"].append(together(step, members, rows))
            one, all_ = (statistics.median(taken[how]) / STEPS * 1e3 for how in ("apart", "together"))
            lines.append(f"| {name} | {members} | {one:.2f} | {all_:.2f} | {one / all_:.1f}× |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = page()
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
