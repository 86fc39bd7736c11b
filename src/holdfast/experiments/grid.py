"""Grids: from what was asked for to cells, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation
from holdfast.core.method import Method
from holdfast.core.task import Model, Task, TaskData, check_needs
from holdfast.experiments.cells import finish_cell
from holdfast.experiments.evaluate import Evaluated, evaluate_cell
from holdfast.experiments.numerics import Numerics
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import CellStore
from holdfast.training import Budget, SelectionRule

Chain = tuple[Method, ...]


@dataclass(frozen=True)
class Fold:
    """One loaded task of a grid.

    Attributes:
        task: Its recipe.
        name: The held-out environments; empty where the task is not folded.
        data: Its rows.
    """

    task: Task
    name: str
    data: TaskData


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Methods × seeds × folds under one budget and one selection rule.

    Attributes:
        folds: The loaded tasks.
        chains: The methods.
        seeds: Roots of the random streams.
        rule: Chooses checkpoints.
        steps, batch_size: Override the task's budget.
        model: Overrides the task's architecture.
        numerics: Threads, device, precision.
    """

    folds: tuple[Fold, ...]
    chains: tuple[Chain, ...]
    seeds: tuple[int, ...]
    rule: SelectionRule
    budget: Budget | None = None
    batch_size: int | None = None
    model: Model | None = None
    numerics: Numerics = Numerics()  # frozen

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UserError("no seeds: --seeds takes a number of at least 1")

    @property
    def labels(self) -> tuple[str, ...]:
        """The chains as typed."""
        return tuple("+".join(method.reference for method in chain) for chain in self.chains)

    def specs(self) -> Iterator[tuple[Fold, CellSpec]]:
        """Every cell, fold by fold, method by method, seed by seed."""
        for fold in self.folds:
            fingerprint = fold.data.fingerprint()
            for chain in self.chains:
                for seed in self.seeds:
                    yield fold, self._spec(fold, fingerprint, chain, seed)

    def check(self) -> None:
        """Refuse what some task cannot serve, before anything is trained.

        Raises:
            UserError: One line that says what is missing.
        """
        for chain in self.chains:
            for place, method in enumerate(chain):
                needs = method.needs()
                if needs.base and place == 0:
                    raise UserError(
                        f"{method.name} repairs a model: write METHOD+{method.reference}, such as erm+"
                        f"{method.reference}"
                    )
                for fold in self.folds:
                    check_needs(fold.data, needs, what=f"method {method.name!r}")
        for fold in self.folds:
            with torch.random.fork_rng():
                (self.model or fold.data.model).build(fold.data.input_shape, fold.data.outputs)
            if self.rule.role is not None and not fold.data.with_role(self.rule.role):
                raise UserError(
                    f"selection rule {self.rule.name!r} needs rows in role {self.rule.role!r}, and "
                    f"{fold.task.name} has none: use --select last"
                )

    def _spec(self, fold: Fold, fingerprint: str, chain: Chain, seed: int) -> CellSpec:
        return CellSpec(
            task=fold.task,
            data=fingerprint,
            fold=fold.name,
            chain=chain,
            model=fold.data.model.replaced_by(self.model) if self.model else fold.data.model,
            seed=seed,
            budget=self.budget or Budget(fold.data.steps),
            batch_size=self.batch_size or fold.data.batch_size,
            numerics=self.numerics,
            rule=self.rule,
        )


def load_folds(task: Task) -> tuple[Fold, ...]:
    """The task's folds, loaded; a task that is not folded is one."""
    tasks = tuple(task.folds())
    return tuple(Fold(one, one.fold_name, one.load()) for one in tasks)


def run_inline(
    grid: Grid,
    store: CellStore,
    evaluations: Sequence[Evaluation],
    report_progress: Callable[[CellSpec, str, float], None] | None = None,
) -> tuple[Evaluated, ...]:
    """Make and evaluate every cell of a grid in this process, in order; finished ones are read.

    Args:
        grid: What to make.
        store: Where cells are.
        evaluations: What to measure.
        report_progress: Called with the cell, the stage and the part of it that is done.
    """
    grid.check()
    tell = report_progress or (lambda spec, stage, part: None)
    results = []
    for fold, spec in grid.specs():
        cell = finish_cell(spec, fold.data, store, lambda stage, part, spec=spec: tell(spec, stage, part))  # type: ignore[misc]
        tell(spec, "evaluating", 0.0)
        results.append(evaluate_cell(spec, cell, fold.data, evaluations))
        tell(spec, "done", 1.0)
    return tuple(results)
