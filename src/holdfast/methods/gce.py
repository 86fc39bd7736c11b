"""Generalized cross-entropy."""

from __future__ import annotations

import dataclasses
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

    With ``least`` the loss is truncated after a part of the budget: rows whose label has no more than that probability
    train nothing for as long as it has not. (The authors' code looks every ten epochs which rows these are.)

    Attributes:
        q: Between cross-entropy, toward 0, and 1 − p, at 1.
        least: 0 truncates nothing; the paper's is 0.5.
        warm_up: Part of the budget before the loss is truncated.
        optimizer: The optimizer.
    """

    q: Annotated[float, Range(1e-6, 1.0), Uniform(0.1, 0.9)] = 0.7
    least: Annotated[float, Range(0.0, 0.99)] = 0.0
    warm_up: Annotated[float, Range(0.01, 1.0)] = 1 / 3
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = trainer.build(self, view, model)
        budget = trainer.budget
        if self.least > 0:
            first = budget.part(self.warm_up)
            trainer.fit(network, view, self._step(least=0.0), stage="warm-up", budget=first)
            budget = dataclasses.replace(budget, amount=max(1, budget.amount - first.amount))
        return trainer.fit(network, view, self._step(least=self.least), budget=budget).model

    def _step(self, least: float) -> GradientStep:
        loss = functools.partial(generalized_cross_entropy, q=self.q, least=least)
        return GradientStep(loss=loss, optimizer=self.optimizer)
