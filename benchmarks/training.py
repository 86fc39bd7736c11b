"""What the trainer costs beside a bare PyTorch loop: medians of interleaved runs in one process.

Run with ``python benchmarks/training.py``; it prints the table and writes ``docs/benchmarks/training.md``.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.task import TrainingView
from holdfast.models.mlp import MLP
from holdfast.training import Adam, Budget, GradientStep, Trainer

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "training.md"
REPEATS = 9


@dataclass(frozen=True)
class Case:
    """One network and batch size, trained with plain ERM."""

    name: str
    widths: tuple[int, ...]
    batch: int
    rows: int
    steps: int


CASES = (
    Case("784-256-256-10", (784, 256, 256, 10), 128, 4096, 150),
    Case("4-8-2 (tiny)", (4, 8, 2), 32, 1024, 600),
)


def bare_loop(case: Case, data: Dataset) -> Callable[[], None]:
    """The loop that one would write: a permutation per epoch, Adam, cross-entropy."""
    x, y = data.batch().x, data.labels
    assert isinstance(x, torch.Tensor)

    def run() -> None:
        torch.manual_seed(0)
        model = MLP(hidden=case.widths[1:-1]).build((case.widths[0],), case.widths[-1])
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        done = 0
        while done < case.steps:
            for rows in torch.randperm(len(x)).split(case.batch):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
                done += 1
                if done == case.steps:
                    break

    return run


def our_fit(case: Case, data: Dataset) -> Callable[[], None]:
    """The same training through the trainer, checkpoints kept in memory."""
    model_of = MLP(hidden=case.widths[1:-1])
    view = TrainingView(
        "classification", ("",) * case.widths[-1], case.widths[-1], (case.widths[0],), model_of, {"train": data}
    )

    def run() -> None:
        trainer = Trainer(budget=Budget(case.steps), batch_size=case.batch)
        model = model_of.build(view.input_shape, view.outputs)
        trainer.fit(model, view, GradientStep(optimizer=Adam(lr=1e-3)))

    return run


def rows_of(case: Case) -> Dataset:
    """Random rows in one environment."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.rows, case.widths[0], generator=generator)
    y = torch.randint(case.widths[-1], (case.rows,), generator=generator)
    return Dataset(x, y, Column.constant(case.rows))


def measure(case: Case) -> tuple[float, float]:
    """Median seconds of the bare loop and of the trainer, run in turn."""
    data = rows_of(case)
    runs = (bare_loop(case, data), our_fit(case, data))
    seconds: tuple[list[float], list[float]] = ([], [])
    for run in runs:
        run()
    for _ in range(REPEATS):
        for run, times in zip(runs, seconds, strict=True):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def page() -> str:
    """The table as Markdown."""
    lines = [
        "# Training: the trainer against a bare loop",
        "",
        f"Written by `python benchmarks/training.py` on {date.today().isoformat()}: torch {torch.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, one thread, median of {REPEATS} interleaved runs. The "
        "baseline is the loop one would write with `torch.optim.Adam` as it comes.",
        "",
        "| network, batch | bare loop, µs a step | trainer, µs a step | speed against the loop | overhead, µs a step |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        bare, ours = (1e6 * seconds / case.steps for seconds in measure(case))
        lines.append(
            f"| {case.name}, {case.batch} | {bare:.0f} | {ours:.0f} | {bare / ours:.2f}× | {ours - bare:+.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    text = page()
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
