"""The AND-mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from holdfast import gradients
from holdfast.core.method import Method
from holdfast.core.options import Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.methods._groups import needs_of
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class AndMask(Method):
    """Keep a gradient component only where environments agree on its sign.

    Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations that are hard to vary*, ICLR 2021,
    arXiv:2009.00329.

    Attributes:
        groups: Columns whose combinations are the environments, joined by ``*``; with ``row`` every example is an
            environment of its own, so that what single examples ask for is not learnt.
        threshold: How strongly signs must agree: 0 keeps everything, 1 asks for all environments.
        rescale: Scope of the kept fraction by which the gradient is divided.
        optimizer: The optimizer; weight decay is added after the mask, so that masked weights still shrink.
    """

    groups: str = "environment"
    threshold: Annotated[float, Range(0.0, 1.0), Uniform(0.0, 1.0)] = 1.0
    rescale: Literal["tensor", "global", "none"] = "tensor"
    optimizer: Optimizer = Adam(lr=1e-3, weight_decay=1e-3)

    def needs(self) -> Needs:
        return needs_of(self.groups)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = GradientStep(
            aggregator=gradients.AndMask(self.threshold, rescale=self.rescale), optimizer=self.optimizer
        )
        return trainer.fit(trainer.build(self, view, model), view.grouped_by(self.groups), step).model
