"""Where environments agree on a sign, and what that does to the size of an update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from holdfast.gradients.statistics import Stats

Rescale = Literal["tensor", "global", "none"]


def check_threshold(threshold: float) -> None:
    """Refuse thresholds outside [0, 1].

    Raises:
        ValueError: It is.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} is out of range: it must lie in [0, 1]")


def agreement_mask(stats: Stats, threshold: float) -> Tensor:
    """1 where |Σ_e sign(g_e)| ≥ threshold · E, as whole numbers, and 0 elsewhere; of the gradient's shape and type."""
    assert stats.sign is not None, "the engine leaves out nothing that is in `needs`"
    needed = math.ceil(threshold * stats.environments - 1e-9)
    if needed <= 0:
        return torch.ones_like(stats.sum)
    # A chain of in-place steps on one tensor: comparisons and `where` are several times slower on a CPU.
    mask = stats.sign.to(stats.sum.dtype, copy=True)
    return torch.ops.aten.hardshrink.out(mask, needed - 0.5, out=mask).sign_().abs_()


def kept_fractions(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each mask."""
    return {name: mask.mean() for name, mask in masks.items()}


def rescale_(gradients: Mapping[str, Tensor], kept: Mapping[str, Tensor], scope: Rescale) -> None:
    """Divide gradients, in place, by 1e-10 + the kept fraction: of each tensor, of all together, or not at all."""
    if scope == "none":
        return
    total = sum(gradient.numel() for gradient in gradients.values())
    overall = sum((kept[name] * gradient.numel() for name, gradient in gradients.items()), torch.zeros(())) / total
    for name, gradient in gradients.items():
        gradient /= 1e-10 + (kept[name] if scope == "tensor" else overall.to(gradient.dtype))
