"""Optimizers as options: what to build once the parameters exist."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from holdfast.core.options import LogUniform, Range

LearningRate = Annotated[float, Range(0.0), LogUniform(1e-4, 1e-1)]
WeightDecay = Annotated[float, Range(0.0), LogUniform(1e-6, 1e-2)]
ParameterGroups = Iterable[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent; weight decay is added to the gradient."""

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

    lr: LearningRate = 1e-3
    weight_decay: WeightDecay = 1e-2

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        return torch.optim.AdamW(groups, lr=self.lr, weight_decay=self.weight_decay, fused=True)


Optimizer = Adam | AdamW | SGD
