"""The geometric mean of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from holdfast import gradients
from holdfast.core.method import Method
from holdfast.core.options import Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.training import SGD, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class GeometricMean(Method):
    """Multiply the sizes of the environments' gradients, component by component, where they agree on the sign.

    Progress is slow where environments disagree on the curvature. Under Adam, which divides by the size of gradients,
    little is left of that: the default is plain descent.

    Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations that are hard to vary*, ICLR 2021,
    arXiv:2009.00329.

    Attributes:
        threshold: How strongly signs must agree: 0 keeps everything, 1 asks for all environments.
        rescale: Scope of the kept fraction by which the gradient is divided.
        optimizer: The optimizer; weight decay is added after the mask, so that masked weights still shrink.
    """

    threshold: Annotated[float, Range(0.0, 1.0), Uniform(0.0, 1.0)] = 1.0
    rescale: Literal["tensor", "global", "none"] = "tensor"
    optimizer: Optimizer = SGD(lr=1e-1, momentum=0.9, weight_decay=1e-4)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        aggregator = gradients.GeometricMean(self.threshold, rescale=self.rescale)
        step = GradientStep(aggregator=aggregator, optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step).model
