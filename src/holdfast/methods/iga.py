"""Inter-environmental gradient alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.losses import GradientAlignment, MeanOfEnvironments
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register(name="iga")
@dataclass(frozen=True, kw_only=True)
class IGA(Method):
    """Make the gradients of the environments equal: penalise their squared distances from the mean gradient.

    Koyama, Yamaguchi, *When is invariance useful in an out-of-distribution generalization problem?*, 2020,
    arXiv:2008.01883. An update takes one backward pass per environment and another through all of them.

    Attributes:
        penalty: Factor of the sum of squared distances.
        optimizer: The optimizer.
    """

    penalty: Annotated[float, Range(low=0.0), LogUniform(1e1, 1e5)] = 1000.0
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = trainer.build(self, view, model)
        alignment = GradientAlignment([p for p in network.parameters() if p.requires_grad])
        step = GradientStep(risk=MeanOfEnvironments(), penalties=[(self.penalty, alignment)], optimizer=self.optimizer)
        return trainer.fit(network, view, step).model
