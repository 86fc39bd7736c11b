"""Group-balanced training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from holdfast.core.method import Method
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.methods._groups import balanced_rows, needs_of
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class Balanced(Method):
    """Ordinary training on batches that hold every group equally often: rows are drawn with replacement.

    Idrissi, Arjovsky, Pezeshki, Lopez-Paz, *Simple data balancing achieves competitive worst-group-accuracy*,
    CLeaR 2022, arXiv:2110.14503.

    Attributes:
        groups: Columns whose combinations are the groups, joined by ``*``, such as ``label*color``; ``label`` and
            ``environment`` are columns too. Rows of unknown group are left out.
        optimizer: The optimizer.
    """

    groups: str = "environment"
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return needs_of(self.groups)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        grouped = view.grouped_by(self.groups)
        step = GradientStep(optimizer=self.optimizer)
        return trainer.fit(
            trainer.build(self, view, model), grouped, step, source=balanced_rows(grouped, trainer)
        ).model
