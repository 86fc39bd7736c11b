"""Last-layer ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.augmentation import Augmentation
from holdfast.core.data import Batch
from holdfast.core.method import Method
from holdfast.core.registry import create, register
from holdfast.core.task import Needs, TrainingView
from holdfast.heads.ensemble import LastLayerEnsemble as Ensemble
from holdfast.selection.kinds import Change, Counterparts, OneOfKinds
from holdfast.training import Adam, EnsembleStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class LastLayerEnsemble(Method):
    """Train a head for each kind of augmentation on one trunk; a predictor of the kind mixes them.

    Li, Evtimov, Gordo, Hazirbas, Hassner, Canton Ferrer, Xu, Ibrahim, *A Whac-A-Mole dilemma: shortcuts come in
    multiples where mitigating one amplifies others*, CVPR 2023, arXiv:2212.04825.

    The kinds are: rows as they are, rows in which a factor was drawn anew, rows under an augmentation. Each is equally
    likely at every update. All layers are trained. The method is told which shortcuts there may be: the interventions
    are knowledge of the task that others here do not have. With neither option it is ordinary training.

    Attributes:
        interventions: Factors that the task can draw anew, one kind for each, such as ``["color","texture"]``; several
            joined by ``*`` are drawn anew together.
        augmentations: Names of augmentations, one kind for each, such as ``random-erasing``.
        optimizer: The optimizer.
    """

    interventions: tuple[str, ...] = ()
    augmentations: tuple[str, ...] = ()
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",), interventions=self.interventions)

    def build(self, view: TrainingView, base: nn.Module | None = None) -> nn.Module:
        return Ensemble(super().build(view, base), 1 + len(self.interventions) + len(self.augmentations))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        changes = [*self._changes(view, trainer)]
        source = OneOfKinds(trainer.source(view, "main"), changes, trainer.rng("kinds"))
        network = trainer.build(self, view, model)
        return trainer.fit(network, view, EnsembleStep(optimizer=self.optimizer), source=source).model

    def _changes(self, view: TrainingView, trainer: Trainer) -> Iterator[Change]:
        for names in self.interventions:
            yield Counterparts(trainer.place(view.interventions[names]))
        for text in self.augmentations:
            augmentation = create(Augmentation, text)
            augmentation.check(view.input_shape)
            yield _Augmenting(augmentation)


@dataclass(frozen=True)
class _Augmenting:
    """An augmentation as a change of a batch."""

    augmentation: Augmentation

    def __call__(self, batch: Batch, generator: torch.Generator) -> Tensor:
        assert isinstance(batch.x, Tensor), "checked by the source"
        return self.augmentation(batch.x, generator)
