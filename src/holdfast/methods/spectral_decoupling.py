"""Spectral decoupling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.losses import SquaredOutputs
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class SpectralDecoupling(Method):
    """Keep logits small, so that a feature that has fitted the rows leaves gradient to the others.

    Pezeshki, Kaba, Bengio, Courville, Precup, Lajoie, *Gradient starvation: a learning proclivity in neural networks*,
    NeurIPS 2021, arXiv:2011.09468. It takes the place of weight decay.

    Attributes:
        penalty: Factor of the mean squared logit.
        optimizer: The optimizer.
    """

    penalty: Annotated[float, Range(low=0.0), LogUniform(1e-3, 10.0)] = 0.1
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = GradientStep(penalties=[(self.penalty, SquaredOutputs())], optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step).model
