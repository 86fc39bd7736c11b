"""Learning from failure."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.training import Adam, FailureStep, Fit, Optimizer, Trainer


@register(name="lff")
@dataclass(frozen=True, kw_only=True)
class LfF(Method):
    """Train a network on the rows that a deliberately biased one fails on; no column says which these are.

    Nam, Cha, Ahn, Lee, Shin, *Learning from failure: training debiased classifier from biased classifier*, NeurIPS
    2020, arXiv:2007.02561. Wrong labels look like failures, too. The longer the training, the less biased the biased
    network is: choose the budget, or the checkpoint, with it.

    Attributes:
        q: Of the biased network's generalized cross-entropy.
        memory: Share of the past in the averages of losses.
        quantile: A row's average is measured by this quantile within its class; 1, the largest, is the paper's, and
            lets one outlier, such as a wrong label, make all others of its class small.
        optimizer: The optimizer of each network.
    """

    q: Annotated[float, Range(1e-6, 1.0), Uniform(0.3, 0.9)] = 0.7
    memory: Annotated[float, Range(0.0, 0.999)] = 0.7
    quantile: Annotated[float, Range(0.01, 1.0)] = 1.0
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        return self.fitted(view, trainer, model).model

    def fitted(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> Fit:
        """Both networks, the biased one under ``biased``; from different initial weights, or both from ``model``."""
        with trainer.randomness("biased"):
            biased = self.build(view, base=copy.deepcopy(model))
        models = {"model": trainer.build(self, view, model), "biased": biased}
        step = FailureStep(q=self.q, memory=self.memory, quantile=self.quantile, optimizer=self.optimizer)
        return trainer.fit(models, view, step)
