"""Invariant risk minimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.losses import InvariantRisk, MeanOfEnvironments
from holdfast.training import Adam, GradientStep, Optimizer, Schedule, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class IRM(Method):
    """Prefer features under which one classifier is optimal in every environment (IRMv1).

    Arjovsky, Bottou, Gulrajani, Lopez-Paz, *Invariant risk minimization*, 2019, arXiv:1907.02893.
    The estimate of the squared gradient is unbiased, so it may be negative and has no lower bound: a large factor with
    many steps on few rows makes the loss drift away.

    Attributes:
        penalty: Factor λ of the squared gradient in a scale of the outputs.
        penalty_from: Part of the budget spent before the penalty counts; until then its factor is 1 at most.
        optimizer: The optimizer; its moments are forgotten when the penalty switches on.
    """

    penalty: Annotated[float, Range(low=0.0), LogUniform(1e-1, 1e5)] = 100.0
    penalty_from: Annotated[float, Range(0.0, 1.0), Uniform(0.0, 0.9)] = 0.25
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = GradientStep(
            risk=MeanOfEnvironments(),
            penalties=[(self.penalty, InvariantRisk())],
            optimizer=self.optimizer,
            schedule=Schedule(penalty_from=self.penalty_from, penalty_before=1 / max(1.0, self.penalty)),
        )
        return trainer.fit(trainer.build(self, view, model), view, step).model
