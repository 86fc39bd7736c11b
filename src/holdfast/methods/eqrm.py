"""Quantile risk minimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.losses import MeanOfEnvironments, QuantileAboveMean
from holdfast.training import Adam, GradientStep, Optimizer, Schedule, Trainer


@register(name="eqrm")
@dataclass(frozen=True, kw_only=True)
class EQRM(Method):
    """Minimise the risk that an environment stays below with a given probability: a quantile of the risks.

    Eastwood et al., *Probable domain generalization via quantile risk minimization*, NeurIPS 2022, arXiv:2207.09944.
    The distribution of risks is estimated from the environments of a batch; few of them make it crude.

    Attributes:
        level: The probability.
        quantile_from: Part of the budget spent on the mean of the risks before.
        optimizer: The optimizer; its moments are forgotten when the quantile takes over.
    """

    level: Annotated[float, Range(1e-6, 1 - 1e-6), Uniform(0.5, 0.99)] = 0.75
    quantile_from: Annotated[float, Range(0.0, 1.0), Uniform(0.0, 0.9)] = 0.25
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = GradientStep(
            risk=MeanOfEnvironments(),
            penalties=[(1.0, QuantileAboveMean(self.level))],
            optimizer=self.optimizer,
            schedule=Schedule(penalty_from=self.quantile_from),
        )
        return trainer.fit(trainer.build(self, view, model), view, step).model
