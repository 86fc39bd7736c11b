"""Executors: where the cells of a grid are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.core.errors import HoldfastError, UserError, unknown_name
from holdfast.core.evaluation import Evaluation
from holdfast.core.options import parse_reference
from holdfast.experiments.cells import finish_cell
from holdfast.experiments.evaluate import Evaluated, evaluate_cell
from holdfast.experiments.grid import Fold, Grid
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import CellStore

Tell = Callable[[CellSpec, str, float], None]
MOST_WORKERS = 512


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Attributes:
        spec: Of the cell.
        evaluated: Where its results stand; None where training failed, or nothing was to be measured.
        failure: One line on why training failed; empty where it did not.
    """

    spec: CellSpec
    evaluated: Evaluated | None = None
    failure: str = ""


class Executor(Protocol):
    """Makes cells."""

    def run(
        self,
        jobs: Sequence[tuple[Fold, CellSpec]],
        store: CellStore,
        evaluations: Sequence[Evaluation] | None,
        tell: Tell,
    ) -> list[Outcome]:
        """Make and evaluate cells; finished ones are read. A training that diverges is an outcome as others are.

        Args:
            jobs: The cells with their loaded tasks.
            store: Where cells are.
            evaluations: What to measure; None to train only.
            tell: Called with the cell, the stage and the part of it that is done.

        Returns:
            One outcome for each job, in their order.

        Raises:
            UserError: Something that the user has to mend first.
        """
        ...


@dataclass(frozen=True)
class Inline:
    """In this process, one after another."""

    def run(
        self,
        jobs: Sequence[tuple[Fold, CellSpec]],
        store: CellStore,
        evaluations: Sequence[Evaluation] | None,
        tell: Tell,
    ) -> list[Outcome]:
        """See :class:`Executor`."""
        return [make_cell(fold, spec, store, evaluations, tell) for fold, spec in jobs]


@dataclass(frozen=True)
class Made:
    """What came of a grid: its evaluated cells, and one line for each cell whose training failed."""

    cells: tuple[Evaluated, ...]
    failures: tuple[str, ...]


def make_grid(
    grid: Grid, store: CellStore, evaluations: Sequence[Evaluation], executor: Executor, tell: Tell | None = None
) -> Made:
    """Make and evaluate every cell of a grid.

    Args:
        grid: What to make.
        store: Where cells are.
        evaluations: What to measure.
        executor: Makes the cells.
        tell: Called with the cell, the stage and the part of it that is done.

    Raises:
        UserError: Something that the user has to mend first.
        HoldfastError: Every cell failed.
    """
    grid.check()
    outcomes = executor.run(list(grid.specs()), store, evaluations, tell or (lambda spec, stage, part: None))
    failures = tuple(outcome.failure for outcome in outcomes if outcome.failure)
    made = tuple(outcome.evaluated for outcome in outcomes if outcome.evaluated is not None)
    if not made:
        raise HoldfastError(f"every training failed; the first: {failures[0]}")
    return Made(made, failures)


def make_cell(
    fold: Fold, spec: CellSpec, store: CellStore, evaluations: Sequence[Evaluation] | None, tell: Tell
) -> Outcome:
    """Make and evaluate one cell, here."""
    try:
        cell = finish_cell(spec, fold.data, store, lambda stage, part: tell(spec, stage, part))
    except UserError:
        raise
    except HoldfastError as error:
        return Outcome(spec, failure=f"{spec.case} failed: {error}")
    evaluated = None
    if evaluations is not None:
        tell(spec, "evaluating", 0.0)
        evaluated = evaluate_cell(spec, cell, fold.data, evaluations)
    tell(spec, "done", 1.0)
    return Outcome(spec, evaluated)


def executor_of(text: str, threads: int) -> Executor:
    """The executor that ``inline``, ``processes`` or ``processes:workers=4`` names.

    Args:
        text: As on the command line.
        threads: Of each cell: without ``workers`` there are as many as the machine's processors can hold.

    Raises:
        UserError: There is none of that name, or the number of workers is none.
    """
    reference = parse_reference(text)
    options = dict(reference.options)
    if reference.name not in ("inline", "processes"):
        raise unknown_name("--executor", reference.name, ["inline", "processes"])
    if set(options) - ({"workers"} if reference.name == "processes" else set()):
        raise UserError(f"--executor {text}: only processes has an option, workers, as in processes:workers=4")
    if reference.name == "inline":
        return Inline()
    from holdfast.experiments.processes import Processes, usual_workers

    workers = options.get("workers", str(usual_workers(threads)))
    if not workers.isdecimal() or not 1 <= int(workers) <= MOST_WORKERS:
        raise UserError(f"--executor {text}: workers is a whole number from 1 to {MOST_WORKERS}")
    return Processes(int(workers))
