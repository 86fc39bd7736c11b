"""Grids: from what was asked for to the cells that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.core.augmentation import Augmentation
from holdfast.core.errors import UserError
from holdfast.core.inference import GroupInference
from holdfast.core.method import Method
from holdfast.core.task import Model, Task, TaskData
from holdfast.experiments.checks import (
    check_augmentations,
    check_chain,
    check_classes,
    check_inference,
    check_model,
    check_rule,
)
from holdfast.experiments.numerics import Numerics
from holdfast.experiments.spec import CellSpec, label_of
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
        augment: What is done to the images of training batches, in order.
        inference: What makes the environments that methods see; the task's own by default.
    """

    folds: tuple[Fold, ...]
    chains: tuple[Chain, ...]
    seeds: tuple[int, ...]
    rule: SelectionRule
    budget: Budget | None = None
    batch_size: int | None = None
    model: Model | None = None
    numerics: Numerics = Numerics()  # frozen
    augment: tuple[Augmentation, ...] = ()
    inference: GroupInference | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UserError("no seeds: --seeds takes a number of at least 1")

    @property
    def labels(self) -> tuple[str, ...]:
        """The chains as typed."""
        return tuple(map(label_of, self.chains))

    def specs(self) -> Iterator[tuple[Fold, CellSpec]]:
        """Every cell, fold by fold, method by method, seed by seed."""
        for fold in self.folds:
            fingerprint = fold.data.fingerprint()
            for chain in self.chains:
                for seed in self.seeds:
                    yield fold, self._spec(fold, fingerprint, chain, seed)

    def references(self) -> Iterator[tuple[Fold, CellSpec]]:
        """Every cell from whose network groups are inferred, once."""
        found: dict[str, tuple[Fold, CellSpec]] = {}
        for fold, spec in self.specs():
            if spec.reference is not None:
                found.setdefault(spec.reference.key, (fold, spec.reference))
        yield from found.values()

    def check(self) -> None:
        """Refuse what some task cannot serve, before anything is trained.

        Raises:
            UserError: One line that says what is missing.
        """
        for fold in self.folds:
            check_model(self._model(fold), fold.data)
            check_rule(self.rule, fold.data)
            if self.inference is not None:
                check_inference(self.inference, fold.data)
            for chain in self.chains:
                check_chain(chain, fold.data)
                check_augmentations(self.augment, chain, fold.data)
                check_classes(chain, fold.data, fold.name)

    def _model(self, fold: Fold) -> Model:
        own = fold.data.model
        return own.replaced_by(self.model) if self.model else own

    def _spec(self, fold: Fold, fingerprint: str, chain: Chain, seed: int) -> CellSpec:
        return CellSpec(
            task=fold.task,
            data=fingerprint,
            fold=fold.name,
            chain=chain,
            model=self._model(fold),
            seed=seed,
            budget=self.budget or Budget(fold.data.steps),
            batch_size=self.batch_size or fold.data.batch_size,
            numerics=self.numerics,
            rule=self.rule,
            augment=self.augment,
            inference=self.inference,
        )


def load_folds(task: Task) -> tuple[Fold, ...]:
    """The task's folds, loaded; a task that is not folded is one."""
    tasks = tuple(task.folds())
    return tuple(Fold(one, one.fold_name, one.load()) for one in tasks)
