"""Correlation alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.taps import REPRESENTATION
from holdfast.core.task import TrainingView
from holdfast.losses import CovarianceAlignment, MeanOfEnvironments
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class Coral(Method):
    """Make mean and covariance of what the head reads equal in all environments.

    Sun, Saenko, *Deep CORAL: correlation alignment for deep domain adaptation*, ECCV 2016, arXiv:1607.01719.

    Attributes:
        penalty: Factor of the penalty.
        optimizer: The optimizer.
    """

    penalty: Annotated[float, Range(low=0.0), LogUniform(1e-1, 1e1)] = 1.0
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = GradientStep(
            risk=MeanOfEnvironments(),
            penalties=[(self.penalty, CovarianceAlignment())],
            optimizer=self.optimizer,
            taps=[REPRESENTATION],
        )
        return trainer.fit(trainer.build(self, view, model), view, step).model
