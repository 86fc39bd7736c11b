"""Ordinary training that knows no environments."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from holdfast.core.method import Method
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class Pooled(Method):
    """Ordinary training on all rows alike, whatever environment they are from.

    Where environments differ in size, ``erm`` draws as many rows from each; here every row is drawn equally often. It
    is what groups are inferred from, and the baseline of methods that are given inferred groups.

    Attributes:
        optimizer: The optimizer.
    """

    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(environments=False)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        return trainer.fit(trainer.build(self, view, model), view, GradientStep(optimizer=self.optimizer)).model
