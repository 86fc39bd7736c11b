"""Invariant gradient variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range, Uniform
from holdfast.core.registry import register
from holdfast.core.taps import REPRESENTATION, last_linear
from holdfast.core.task import TrainingView
from holdfast.losses import GradientVariances, MeanOfEnvironments
from holdfast.training import Adam, GradientStep, Optimizer, Schedule, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class Fishr(Method):
    """Make the variance, over rows, of the head's gradient equal in all environments.

    Ramé, Dancette, Cord, *Fishr: invariant gradient variances for out-of-distribution generalization*, ICML 2022,
    arXiv:2109.02934.

    Attributes:
        penalty: Factor of the squared differences.
        penalty_from: Part of the budget spent before the penalty counts.
        memory: Share of the past in the average of variances over steps.
        optimizer: The optimizer; its moments are forgotten when the penalty switches on.
    """

    penalty: Annotated[float, Range(low=0.0), LogUniform(1e1, 1e4)] = 1000.0
    penalty_from: Annotated[float, Range(0.0, 1.0), Uniform(0.0, 0.9)] = 0.25
    memory: Annotated[float, Range(0.0, 0.999), Uniform(0.9, 0.99)] = 0.95
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = trainer.build(self, view, model)
        environments = len(view.train.environment.names)
        step = GradientStep(
            risk=MeanOfEnvironments(),
            penalties=[(self.penalty, GradientVariances(last_linear(network), environments, memory=self.memory))],
            optimizer=self.optimizer,
            schedule=Schedule(penalty_from=self.penalty_from),
            taps=[REPRESENTATION],
        )
        return trainer.fit(network, view, step).model
