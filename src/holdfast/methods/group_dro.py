"""Group distributionally robust optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.losses import ExponentiatedGroups
from holdfast.methods._groups import balanced_rows, needs_of
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class GroupDRO(Method):
    """Minimise the worst group's mean loss: weights over groups grow exponentially with their losses.

    Sagawa, Koh, Hashimoto, Liang, *Distributionally robust neural networks for group shifts*, ICLR 2020,
    arXiv:1911.08731. Networks that can fit every training row need strong weight decay or an early checkpoint with it.

    Attributes:
        groups: Columns whose combinations are the groups, joined by ``*``, such as ``label*color``; ``label`` and
            ``environment`` are columns too. Batches hold every group equally often; rows of unknown group are left out.
        step_size: Rate η at which the weights of groups grow.
        optimizer: The optimizer.
    """

    groups: str = "environment"
    step_size: Annotated[float, Range(low=0.0), LogUniform(1e-3, 1e-1)] = 0.01
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return needs_of(self.groups)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        grouped = view.grouped_by(self.groups)
        risk = ExponentiatedGroups(len(grouped.train.environment.names), self.step_size)
        step = GradientStep(risk=risk, optimizer=self.optimizer)
        return trainer.fit(
            trainer.build(self, view, model), grouped, step, source=balanced_rows(grouped, trainer)
        ).model
