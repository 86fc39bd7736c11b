"""Optimizers as options: what to build once the parameters exist."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from holdfast import gradients
from holdfast.core.options import LogUniform, Range, Uniform

LearningRate = Annotated[float, Range(0.0), LogUniform(1e-4, 1e-1)]
WeightDecay = Annotated[float, Range(0.0), LogUniform(1e-6, 1e-2)]
Beta = Range(0.0, 0.9999)
ParameterGroups = Iterable[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent; weight decay is added to the gradient."""

    decoupled: ClassVar[bool] = False

    lr: LearningRate = 1e-2
    momentum: Annotated[float, Range(0.0, 1.0)] = 0.0
    weight_decay: WeightDecay = 0.0

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam; weight decay is added to the gradient, before the moments (coupled L2).

    Kingma, Ba, *Adam: a method for stochastic optimization*, ICLR 2015, arXiv:1412.6980.
    """

    decoupled: ClassVar[bool] = False

    lr: LearningRate = 1e-3
    weight_decay: WeightDecay = 0.0

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        return torch.optim.Adam(groups, lr=self.lr, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay: p ← p − lr · weight_decay · p beside the update.

    Loshchilov, Hutter, *Decoupled weight decay regularization*, ICLR 2019, arXiv:1711.05101.
    """

    decoupled: ClassVar[bool] = True

    lr: LearningRate = 1e-3
    weight_decay: WeightDecay = 1e-2

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        return torch.optim.AdamW(groups, lr=self.lr, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True, kw_only=True)
class AndAdam:
    """Adam that moves a weight only where the sign of its gradient has been steady; weight decay is decoupled.

    The optimizer :class:`holdfast.gradients.AndAdam` as an option; draw each batch from one environment. Parascandolo,
    Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations that are hard to vary*, ICLR 2021, arXiv:2009.00329.

    Attributes:
        beta1, beta2: Decay of the first and the second moment.
        beta3: Decay of the mean sign.
        threshold: A weight moves where its mean sign is at least this, up to its own sign; 0 moves all.
    """

    decoupled: ClassVar[bool] = True

    lr: Annotated[float, Range(0.0), LogUniform(1e-3, 2e-2)] = 1e-3
    beta1: Annotated[float, Beta] = 0.9
    beta2: Annotated[float, Beta] = 0.999
    beta3: Annotated[float, Beta, Uniform(0.5, 0.95)] = 0.8
    threshold: Annotated[float, Range(0.0, 1.0), Uniform(0.2, 0.6)] = 0.4
    weight_decay: WeightDecay = 0.0

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        betas = (self.beta1, self.beta2, self.beta3)
        return gradients.AndAdam(
            groups, lr=self.lr, betas=betas, threshold=self.threshold, weight_decay=self.weight_decay
        )


Optimizer = Adam | AdamW | SGD | AndAdam
