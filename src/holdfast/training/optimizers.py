"""Optimizers as options: what to build once the parameters exist, and how the learning rate falls."""

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
class Descent:
    """What all optimizers have.

    Attributes:
        lr: Learning rate of the first update.
        weight_decay: Factor of the L2 term; each optimizer says where it enters.
        l1: The gradient gains l1 · sign(p), after aggregation, so that no mask touches it.
        drops: Parts of the budget, in [0, 1], after which the learning rate is multiplied by ``drop_factor``.
        drop_factor: In (0, 1].
        decay: The learning rate is multiplied by this at every update; 1 leaves it.
        decoupled: Whether weight decay shrinks weights beside the update, and not through the gradient.
    """

    decoupled: ClassVar[bool] = False

    lr: LearningRate = 1e-3
    weight_decay: WeightDecay = 0.0
    l1: Annotated[float, Range(0.0)] = 0.0
    drops: Annotated[tuple[float, ...], Range(0.0, 1.0)] = ()
    drop_factor: Annotated[float, Range(1e-10, 1.0)] = 0.1
    decay: Annotated[float, Range(1e-10, 1.0)] = 1.0

    def lr_factor(self, step: int, progress: float) -> float:
        """The factor on the learning rate of this update; progress runs from 0 to 1 over the budget.

        >>> round(SGD(drops=(0.5, 0.75)).lr_factor(step=80, progress=0.8), 6)
        0.01
        """
        return float(self.decay**step * self.drop_factor ** sum(progress >= drop for drop in self.drops))

    def set_rate(self, optimizers: Iterable[torch.optim.Optimizer], step: int, progress: float) -> None:
        """Give what was built the learning rate of this update, as in :meth:`lr_factor`."""
        lr = self.lr * self.lr_factor(step, progress)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = lr


@dataclass(frozen=True, kw_only=True)
class SGD(Descent):
    """Stochastic gradient descent; weight decay is added to the gradient."""

    lr: LearningRate = 1e-2
    momentum: Annotated[float, Range(0.0, 1.0)] = 0.0

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True, kw_only=True)
class Adam(Descent):
    """Adam; weight decay is added to the gradient, before the moments (coupled L2).

    Kingma, Ba, *Adam: a method for stochastic optimization*, ICLR 2015, arXiv:1412.6980.
    """

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        return torch.optim.Adam(groups, lr=self.lr, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True, kw_only=True)
class AdamW(Descent):
    """Adam with decoupled weight decay: p ← p − lr · weight_decay · p beside the update.

    Loshchilov, Hutter, *Decoupled weight decay regularization*, ICLR 2019, arXiv:1711.05101.
    """

    decoupled: ClassVar[bool] = True

    weight_decay: WeightDecay = 1e-2

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        return torch.optim.AdamW(groups, lr=self.lr, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True, kw_only=True)
class AndAdam(Descent):
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

    def build(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups."""
        betas = (self.beta1, self.beta2, self.beta3)
        return gradients.AndAdam(
            groups, lr=self.lr, betas=betas, threshold=self.threshold, weight_decay=self.weight_decay
        )


Optimizer = Adam | AdamW | SGD | AndAdam
