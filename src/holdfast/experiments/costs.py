"""What a grid will cost: measured on a few updates of each of its methods, not guessed."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import HoldfastError
from holdfast.core.evaluation import Evaluation
from holdfast.experiments.cells import finish_cell
from holdfast.experiments.evaluate import evaluate_cell
from holdfast.experiments.grid import Fold, Grid
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import CellStore
from holdfast.training import Budget

FEW, MORE = 4, 24
"""Updates of the two measured trainings: their difference is free of what a training costs once."""


@dataclass(frozen=True)
class Cost:
    """What one cell of a method costs.

    Attributes:
        method: Its label.
        seconds: To train and evaluate; NaN where the method failed on a few updates.
        bytes: On disk.
        cells: How many are to do.
    """

    method: str
    seconds: float
    bytes: float
    cells: int


def measured_costs(grid: Grid, store: CellStore, evaluations: Sequence[Evaluation]) -> list[Cost]:
    """The cost of every method of a grid, from two short trainings on its largest fold; nothing is left on disk.

    A method's first cell stands for all of its cells. Time that grows faster than the number of updates, such as that
    of a schedule's later part, is not seen.
    """
    return [*_costs(grid.references(), store, ()), *_costs(grid.specs(), store, evaluations)]


def _costs(
    jobs: Iterable[tuple[Fold, CellSpec]], store: CellStore, evaluations: Sequence[Evaluation]
) -> Iterator[Cost]:
    to_do: dict[str, list[tuple[Fold, CellSpec]]] = {}
    for fold, spec in jobs:
        if store.find(spec) is None:
            to_do.setdefault(spec.label, []).append((fold, spec))
    for label, cells in to_do.items():
        yield _cost(label, cells, evaluations)


def _cost(label: str, cells: Sequence[tuple[Fold, CellSpec]], evaluations: Sequence[Evaluation]) -> Cost:
    fold, spec = max(cells, key=lambda pair: sum(len(split.data) for split in pair[0].data.splits))
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
            few, more = (
                _short(fold, dataclasses.replace(spec, budget=Budget(steps)), Path(folder) / str(steps), evaluations)
                for steps in (min(FEW, spec.budget.amount), min(MORE, spec.budget.amount))
            )
    except HoldfastError:
        return Cost(label, float("nan"), 0.0, len(cells))
    steps = max(min(MORE, spec.budget.amount) - FEW, 1)
    each = max(more[0] - few[0], 0.0) / steps
    left = max(spec.budget.amount - MORE, 0)
    return Cost(label, more[0] + left * each, more[1], len(cells))


def _short(fold: Fold, spec: CellSpec, root: Path, evaluations: Sequence[Evaluation]) -> tuple[float, float]:
    """Seconds and bytes of a short training with its evaluation; what it goes on from is made before."""
    store = CellStore(root)
    for earlier in filter(None, (spec.prefix, spec.reference)):
        finish_cell(earlier, fold.data, store)
    start = time.perf_counter()
    cell = finish_cell(spec, fold.data, store)
    evaluate_cell(spec, cell, fold.data, evaluations)
    taken = time.perf_counter() - start
    return taken, float(sum(path.stat().st_size for path in cell.folder.rglob("*") if path.is_file()))
