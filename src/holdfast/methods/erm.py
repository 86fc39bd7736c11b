"""Ordinary training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from holdfast.core.method import Method
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class ERM(Method):
    """Empirical risk minimisation: the mean loss over the rows of a batch, to which each environment gives as many.

    Vapnik, *Principles of risk minimization for learning theory*, NeurIPS 1991.

    Attributes:
        optimizer: The optimizer.
    """

    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        return trainer.fit(trainer.build(self, view, model), view, GradientStep(optimizer=self.optimizer)).model
