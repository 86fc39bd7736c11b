"""Ordinary training on rows of which some factors were drawn anew."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import nn

from holdfast.core.method import Method
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class FactorRandomization(Method):
    """Ordinary training on rows in which some factors were drawn anew, so that they say nothing of the label.

    Augmentation against a known shortcut, as in Li, Evtimov, Gordo, Hazirbas, Hassner, Canton Ferrer, Xu, Ibrahim, *A
    Whac-A-Mole dilemma: shortcuts come in multiples where mitigating one amplifies others*, CVPR 2023,
    arXiv:2212.04825, where the task draws the factors itself. Every row is drawn anew once, before training.

    Attributes:
        factors: Which, drawn anew together, such as ``["color","texture"]``; none is ordinary training.
        optimizer: The optimizer.
    """

    factors: tuple[str, ...] = ()
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        joined = ("*".join(self.factors),) if self.factors else ()
        return Needs(kinds=("classification",), interventions=joined)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        train = view.interventions["*".join(self.factors)] if self.factors else view.train
        drawn = dataclasses.replace(view, data={**view.data, "train": train})
        return trainer.fit(trainer.build(self, view, model), drawn, GradientStep(optimizer=self.optimizer)).model
