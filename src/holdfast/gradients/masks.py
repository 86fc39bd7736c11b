"""Where environments agree on a sign, and what that does to the size of an update.

All parameters go through each operation together: one call in place of one per parameter, which is most of the cost
where they are small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

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


def check_rescale(rescale: str) -> None:
    """Refuse a scope that is none.

    Raises:
        ValueError: It is.
    """
    if rescale not in get_args(Rescale):
        raise ValueError(f"rescale={rescale!r} is none of {', '.join(get_args(Rescale))}")


def mask_(values: Mapping[str, Tensor], stats: Mapping[str, Stats], threshold: float) -> dict[str, Tensor]:
    """Make components zero, in place, where |Σ_e sign(g_e)| < threshold · E, as whole numbers; the counts are used up.

    Returns:
        The fraction kept of each tensor.
    """
    tensors = list(values.values())
    masks = [_counts(stats[name]).to(value.dtype) for name, value in values.items()]
    torch._foreach_abs_(masks)
    torch._foreach_sub_(masks, [_needed(stats[name], threshold) - 1.0 for name in values])
    torch._foreach_clamp_min_(masks, 0.0)
    torch._foreach_clamp_max_(masks, 1.0)
    torch._foreach_mul_(tensors, masks)
    kept = torch._foreach_norm(masks, 1)
    torch._foreach_div_(kept, [float(max(1, value.numel())) for value in tensors])
    return dict(zip(values, kept, strict=True))


def rescale_(gradients: Mapping[str, Tensor], kept: Mapping[str, Tensor], scope: Rescale) -> None:
    """Divide gradients, in place, by 1e-10 + the kept fraction: of each tensor, of all together, or not at all."""
    if scope == "none":
        return
    fractions = [kept[name] for name in gradients]
    if scope == "global":
        sizes = torch.tensor([float(gradient.numel()) for gradient in gradients.values()])
        overall = torch.stack(fractions).double() @ (sizes / sizes.sum()).to(fractions[0].device, torch.float64)
        fractions = [overall.to(fraction.dtype) for fraction in fractions]
    torch._foreach_div_(list(gradients.values()), torch._foreach_add(fractions, 1e-10))


def _needed(stats: Stats, threshold: float) -> int:
    return math.ceil(threshold * stats.environments - 1e-9)


def _counts(stats: Stats) -> Tensor:
    assert stats.sign is not None, "the engine leaves out nothing that is in `needs`"
    return stats.sign
