"""Mean losses per environment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EnvironmentLosses:
    """Mean losses of the environments present in a batch.

    Attributes:
        values: (E,) weighted mean loss of each.
        codes: (E,) ascending environment codes; −1 (unknown) is one more environment.
        shares: (E,) fraction of the batch's row weight in each; sums to 1.
    """

    values: Tensor
    codes: Tensor
    shares: Tensor


def environment_means(losses: Tensor, environment: Tensor, weight: Tensor | None = None) -> EnvironmentLosses:
    """The weighted mean loss over the rows of each environment.

    Args:
        losses: (B,) per-example losses.
        environment: (B,) integer codes.
        weight: (B,) non-negative row weights; equal by default.

    >>> environment_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2, 2, 7])).values
    tensor([2., 5.])
    """
    losses = losses.to(torch.promote_types(losses.dtype, torch.float32))  # in which rows can be counted
    codes, inverse = torch.unique(environment, return_inverse=True)
    weight = torch.ones_like(losses) if weight is None else weight.to(losses)
    totals = torch.zeros(len(codes), dtype=losses.dtype, device=losses.device).index_add(0, inverse, weight)
    share_in_environment = weight / totals.clamp_min(torch.finfo(losses.dtype).tiny)[inverse]
    values = torch.zeros_like(totals).index_add(0, inverse, losses * share_in_environment)
    return EnvironmentLosses(values, codes, totals / totals.sum())
