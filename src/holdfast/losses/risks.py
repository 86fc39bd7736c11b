"""Risks: from the mean losses of the environments in a batch to the scalar that is minimised."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from holdfast.losses.environments import EnvironmentLosses


class Risk(Protocol):
    """Maps environment losses to a scalar; its derivative in them is how much each environment counts."""

    def __call__(self, losses: EnvironmentLosses) -> Tensor: ...


class PooledMean:
    """The mean over all rows, whatever their environment."""

    def __call__(self, losses: EnvironmentLosses) -> Tensor:
        return (losses.values * losses.shares).sum()


class MeanOfEnvironments:
    """The mean over environments, each counting the same however many rows it has."""

    def __call__(self, losses: EnvironmentLosses) -> Tensor:
        return losses.values.mean()


class ExponentiatedGroups(nn.Module):
    """Group DRO: weights over groups that grow exponentially with their losses.

    q_g ← q_g · exp(η · L_g), normalised; the risk is Σ_g q_g L_g. Groups absent from a batch keep their share: only the
    mass of the groups present is redistributed among them. Kept is log q, in which no weight is rounded to zero for
    good; it is a buffer and so part of every checkpoint.

    Sagawa, Koh, Hashimoto, Liang, *Distributionally robust neural networks for group shifts*, ICLR 2020,
    arXiv:1911.08731.

    Args:
        groups: G, the number of groups; rows of unknown group (−1) share one more.
        step_size: η > 0.
    """

    log_q: Tensor

    def __init__(self, groups: int, step_size: float = 0.01) -> None:
        super().__init__()
        self.step_size = step_size
        self.register_buffer("log_q", torch.full((groups + 1,), -math.log(groups + 1)))

    def forward(self, losses: EnvironmentLosses) -> Tensor:
        with torch.no_grad():
            before = self.log_q[losses.codes]
            grown = before + self.step_size * losses.values
            log_q = grown - grown.logsumexp(0) + before.logsumexp(0)
            self.log_q[losses.codes] = log_q.to(self.log_q.dtype)
        return (log_q.softmax(0) * losses.values).sum()
