"""Curves over the mask's threshold with every example an environment: true labels, random labels, a quarter random.

Run with ``python benchmarks/random_labels.py SIZE [FOLDER [WORKERS]]``, which prints the page and writes
``docs/benchmarks/random_labels_SIZE.md``. Sizes are ``small``, a few minutes on MNIST; ``cpu``, about an hour on one
core; ``card``, the same for two and a half times as long, minutes on a graphics card with several workers; and
``paper``, the paper's size, for such a card and a day. With a folder for the cells, a run that was stopped goes on.
CIFAR-10 or MNIST lies in the folder that HOLDFAST_DATA names.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pages

from holdfast.core.artifacts import Curve
from holdfast.core.registry import create
from holdfast.core.task import Model, Task
from holdfast.experiments.executors import Executor, Inline
from holdfast.experiments.grid import Grid, load_folds
from holdfast.experiments.numerics import Numerics
from holdfast.experiments.processes import Processes
from holdfast.experiments.store import Cell, CellStore
from holdfast.methods.and_mask import AndMask
from holdfast.tasks.random_labels import CHANGED
from holdfast.training import Adam, Budget, Last

REMEMBERED = 0.5
LABELS = {"true labels": 0.0, "random labels": 1.0, "25 % random": 0.25}


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        task: With its images; the fraction of random labels is added.
        model: The network.
        epochs: Passes through the training rows, in batches of 80.
        thresholds: Of the mask; 0 is plain training.
        seeds: How many.
        lr: Learning rate of Adam.
        drops: Parts of the budget after which it is divided by ten.
        device: Where.
    """

    task: str
    model: str
    epochs: int
    thresholds: tuple[float, ...]
    seeds: int
    lr: float
    drops: tuple[float, ...]
    device: str = "cpu"


SIZES = {
    "small": Size("random-labels:source=mnist:rows=2000", "mlp:hidden=[256]", 20, (0.0, 0.1, 0.2), 1, 1e-3, ()),
    "cpu": Size("random-labels:source=cifar10:rows=5000", "cnn:channels=[32,64,128]", 20, (0.0, 0.1, 0.2), 1, 1e-3, ()),
    "card": Size(
        "random-labels:source=cifar10:rows=5000",
        "cnn:channels=[32,64,128]",
        50,
        (0.0, 0.1, 0.2),
        1,
        1e-3,
        (0.75,),
        "cuda",
    ),
    "paper": Size(
        "random-labels:source=cifar10:rows=null:test_rows=10000",
        "fast-resnet",
        80,
        (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8),
        2,
        5e-4,
        (0.5, 0.75),
        "cuda",
    ),
}


@dataclass(frozen=True)
class Accuracies:
    """Means over seeds: under the training labels, under wrong ones, on the test."""

    train: float
    changed: float | None
    test: float


def grid(size: Size, fraction: float) -> Grid:
    """The trainings under so many random labels, one method for each threshold."""
    folds = load_folds(create(Task, f"{size.task}:fraction={fraction}"))
    rows = len(folds[0].data.split("train").data)
    optimizer = Adam(lr=size.lr, weight_decay=1e-6, drops=size.drops)
    return Grid(
        folds=folds,
        chains=tuple(
            (AndMask(groups="row", threshold=threshold, optimizer=optimizer),) for threshold in size.thresholds
        ),
        seeds=tuple(range(size.seeds)),
        rule=Last(),
        budget=Budget(size.epochs * rows // 80),
        model=create(Model, size.model),
        numerics=Numerics(device=size.device),
    )


def measured(grid: Grid, fraction: float, store: CellStore) -> list[Accuracies]:
    """Of networks trained to the end, one mean over seeds for each threshold."""
    found = []
    for chain in grid.chains:
        cells = [store.get(spec.key) for _, spec in grid.specs() if spec.chain == chain]
        found.append(
            Accuracies(
                statistics.fmean(_last(cell, "train") for cell in cells),
                statistics.fmean(_last(cell, "train", CHANGED) for cell in cells) if fraction else None,
                statistics.fmean(_last(cell, "test") for cell in cells),
            )
        )
    return found


def _last(cell: Cell, split: str, group: str | None = None) -> float:
    of_split = [r for r in cell.records if (r.split, r.group, r.environment) == (split, group, None)]
    return max(of_split, key=lambda r: r.step).score


def page(name: str, folder: Path, executor: Executor) -> Iterator[str]:
    """The page, line by line."""
    size, store = SIZES[name], CellStore(folder)
    grids = {labels: grid(size, fraction) for labels, fraction in LABELS.items()}
    jobs = [job for of_labels in grids.values() for job in of_labels.specs()]
    executor.run(jobs, store, None, lambda spec, stage, part: None)
    yield from (
        "# Every example an environment: curves over the threshold",
        "",
        f"Written by `python benchmarks/random_labels.py {name}` on {date.today().isoformat()}: `{size.task}`, network "
        f"`{size.model}`, {size.epochs} epochs in batches of 80 environments of one example, Adam at {size.lr:g}; "
        f"accuracy in % after the last update, {size.seeds} seed{'s' if size.seeds > 1 else ''}. A threshold of 0 is "
        "plain training.",
        "",
        "| labels | threshold | train | under wrong labels | test |",
        "|---|---|---|---|---|",
    )
    curves: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    for labels, fraction in LABELS.items():
        found = measured(grids[labels], fraction, store)
        for threshold, one in zip(size.thresholds, found, strict=True):
            wrong = "" if one.changed is None else f"{100 * one.changed:.1f}"
            yield f"| {labels} | {threshold:g} | {100 * one.train:.1f} | {wrong} | {100 * one.test:.1f} |"
        for what in ("train", "test") if fraction < 1 else ("train",):
            curves[f"{labels}, {what}"] = (size.thresholds, tuple(100 * getattr(one, what) for one in found))
        if fraction == 1:
            remembered = found[0].train
    yield from ("", _remark(remembered))
    yield from ("", Curve("Accuracy over the threshold", curves, "threshold", "accuracy, %").to_html())


def _remark(remembered: float) -> str:
    """What plain training has made of random labels, and so what the curves can show."""
    said = f"Plain training remembers {100 * remembered:.0f} % of the random labels."
    if remembered >= REMEMBERED:
        return said
    return (
        f"{said} So few updates do not suffice to remember them, and the curves show only what the mask costs; in the "
        "claims `ilc/random-labels` and `ilc/label-noise`, on MNIST, it does remember."
    )


def main() -> None:
    """Write the page; cells lie in the folder given, or in one that is thrown away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", nargs="?", choices=SIZES, default="small")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("workers", nargs="?", type=int)
    asked = parser.parse_args()
    executor = Processes(asked.workers) if asked.workers else Inline()
    with tempfile.TemporaryDirectory() as temporary:
        pages.write(f"random_labels_{asked.size}.md", page(asked.size, asked.folder or Path(temporary), executor))


if __name__ == "__main__":
    main()
