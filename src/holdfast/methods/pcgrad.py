"""Gradient surgery."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from holdfast import gradients
from holdfast.core.method import Method
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register(name="pcgrad")
@dataclass(frozen=True, kw_only=True)
class PCGrad(Method):
    """Take from each environment's gradient what points against the others', then average.

    Yu, Kumar, Gupta, Levine, Hausman, Finn, *Gradient surgery for multi-task learning*, NeurIPS 2020,
    arXiv:2001.06782.

    Attributes:
        optimizer: The optimizer.
    """

    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = GradientStep(weighting=gradients.PCGrad(trainer.seed), optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step).model
