"""Mixup between environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.training import Adam, MixupStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class Mixup(Method):
    """Train on rows between the rows of two environments, each with its share of the loss.

    Zhang, Cisse, Dauphin, Lopez-Paz, *mixup: beyond empirical risk minimization*, ICLR 2018, arXiv:1710.09412.

    Attributes:
        alpha: The share is drawn from Beta(α, α): near 0 or 1 for small values, uniform for 1.
        optimizer: The optimizer.
    """

    alpha: Annotated[float, Range(1e-3), LogUniform(1e-2, 10.0)] = 0.2
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = MixupStep(self.alpha, optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step).model
