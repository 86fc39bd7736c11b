"""The SAND-mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast import gradients
from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class SandMask(Method):
    """Weigh gradient components by how well environments agree on their sign and size.

    Shahtalebi, Gagnon-Audet, Laleh, Faramarzi, Ahuja, Rish, *SAND-mask: an enhanced gradient masking strategy for the
    discovery of invariances in domain generalization*, 2021, arXiv:2106.02266.

    Attributes:
        threshold: Agreement of signs below which a component does not move; at 1 nothing would.
        sharpness: Large values make a hard mask of it.
        optimizer: The optimizer; weight decay is added after the mask, so that masked weights still shrink.
    """

    threshold: Annotated[float, Range(0.0, 0.999), Uniform(0.0, 0.99)] = 0.5
    sharpness: Annotated[float, Range(1e-10), LogUniform(1e-3, 1e5)] = 10.0
    optimizer: Optimizer = Adam(lr=1e-3, weight_decay=1e-3)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        aggregator = gradients.SandMask(self.threshold, self.sharpness)
        step = GradientStep(aggregator=aggregator, optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step).model
