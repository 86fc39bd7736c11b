"""Generalized cross-entropy."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.losses import generalized_cross_entropy
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register(name="gce")
@dataclass(frozen=True, kw_only=True)
class GCE(Method):
    """Train on what the network agrees with: robust to wrong labels, and more biased where a shortcut explains most.

    Zhang, Sabuncu, *Generalized cross entropy loss for training deep neural networks with noisy labels*, NeurIPS 2018,
    arXiv:1805.07836. As a way to isolate the easiest mechanism: Nam et al., NeurIPS 2020, arXiv:2007.02561.

    Attributes:
        q: Between cross-entropy, toward 0, and 1 − p, at 1.
        optimizer: The optimizer.
    """

    q: Annotated[float, Range(1e-6, 1.0), Uniform(0.1, 0.9)] = 0.7
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        loss = functools.partial(generalized_cross_entropy, q=self.q)
        step = GradientStep(loss=loss, optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step).model
