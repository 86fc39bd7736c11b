"""Mixup: train on rows between the rows of two environments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.data import Batch, Inputs
from holdfast.core.errors import UserError
from holdfast.training.context import StepContext
from holdfast.training.step import GradientStep


class MixupStep(GradientStep):
    """The usual update on mixed rows: λ·x + (1 − λ)·x′ with the loss λ·ℓ(y) + (1 − λ)·ℓ(y′).

    Environments are put in a random cycle, and each row's partner is a row of the next one, drawn by its weight. Each
    pair of environments has its λ ~ Beta(α, α). With a single environment rows are mixed within it.

    Zhang, Cisse, Dauphin, Lopez-Paz, *mixup: beyond empirical risk minimization*, ICLR 2018, arXiv:1710.09412, between
    environments as in DomainBed (Gulrajani, Lopez-Paz, ICLR 2021, arXiv:2007.01434).

    Args:
        alpha: α > 0.
        parts: Those of :class:`~holdfast.training.GradientStep`.
    """

    def __init__(self, alpha: float, **parts: Any) -> None:
        super().__init__(**parts)
        self.alpha = alpha

    def _run(self, model: nn.Module, batch: Batch, progress: float) -> StepContext:
        assert self.loss is not None, "setup() was not called"
        other, share = partners(batch, self.alpha)
        mixed = _mixed(batch.x, other, share)
        with self._autocast():
            outputs = model(mixed)
            losses = share * self.loss(outputs, batch.labels) + (1 - share) * self.loss(outputs, batch.labels[other])
        return StepContext(batch, outputs, {}, losses, self.loss, self.updates, progress)


def partners(batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
    """(B,) the row that each is mixed with, and (B,) its own share λ; drawn from torch's global generator."""
    device = batch.environment.device
    weights = torch.ones(len(batch), device=device) if batch.weight is None else batch.weight
    _, place = torch.unique(batch.environment, return_inverse=True)
    totals = torch.zeros(int(place.max()) + 1, dtype=torch.float64, device=device).index_add(0, place, weights.double())
    order = torch.argsort(place, stable=True)
    reached = weights[order].double().cumsum(0)
    next_one = _random_cycle(totals > 0)
    lambdas = torch.distributions.Beta(alpha, alpha).sample((len(totals),)).to(device)
    goal = totals.cumsum(0)[next_one[place]] - torch.rand(len(batch), device=device) * totals[next_one[place]]
    found = torch.searchsorted(reached, goal).clamp_max(len(order) - 1)
    return order[found], lambdas[place].to(weights)


def _random_cycle(weighty: Tensor) -> Tensor:
    """(E,) for each environment the next in a random cycle of those that weigh something."""
    codes = weighty.nonzero()[:, 0]
    shuffled = codes[torch.randperm(len(codes), device=codes.device)]
    following = torch.full((len(weighty),), int(shuffled[0]), device=codes.device)
    following[shuffled] = shuffled.roll(-1)
    return following


def _mixed(x: Inputs, other: Tensor, share: Tensor) -> Tensor:
    if isinstance(x, dict) or not x.is_floating_point():
        raise UserError(
            "mixup needs one input of real numbers: this task has tokens or several inputs; use another method"
        )
    share = share.to(x).view(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * x[other]
