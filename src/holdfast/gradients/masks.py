"""Where environments agree on a sign, and what that does to the size of an update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


def masked(values: Tensor, stats: Stats, threshold: float) -> tuple[Tensor, Tensor]:
    """Keep components where |Σ_e sign(g_e)| ≥ threshold · E, as whole numbers, and make the others zero.

    Returns:
        The masked values, in fresh memory, and the fraction kept.
    """
    assert stats.sign is not None, "the engine leaves out nothing that is in `needs`"
    needed = math.ceil(threshold * stats.environments - 1e-9)
    if needed <= 0:
        return values.clone(), values.new_ones(())
    result = torch.empty(values.shape, dtype=values.dtype, device=values.device)
    kept = [
        _mask_piece(piece, sign, value, needed)
        for piece, sign, value in zip(_pieces(result), _pieces(stats.sign), _pieces(values), strict=True)
    ]
    return result, torch.stack(kept).sum() / max(1, values.numel())


def masked_tensors(
    values: Mapping[str, Tensor], stats: Mapping[str, Stats], threshold: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """:func:`masked` of each tensor: the masked ones, and the fractions kept."""
    both = {name: masked(value, stats[name], threshold) for name, value in values.items()}
    return {name: value for name, (value, _) in both.items()}, {name: kept for name, (_, kept) in both.items()}


def _mask_piece(result: Tensor, sign: Tensor, values: Tensor, needed: int) -> Tensor:
    """A chain of steps in place: comparisons and ``where`` are several times slower on a CPU."""
    mask = result.copy_(sign)
    torch.ops.aten.hardshrink.out(mask, needed - 0.5, out=mask)
    kept = mask.sign_().abs_().sum()
    mask *= values
    return kept


def _pieces(tensor: Tensor) -> Sequence[Tensor]:
    """The flat tensor, on a CPU in pieces that stay in the cache."""
    flat = tensor.reshape(-1)
    return torch.split(flat, 2**16) if flat.device.type == "cpu" else [flat]


def rescale_(gradients: Mapping[str, Tensor], kept: Mapping[str, Tensor], scope: Rescale) -> None:
    """Divide gradients, in place, by 1e-10 + the kept fraction: of each tensor, of all together, or not at all."""
    if scope == "none":
        return
    total = sum(gradient.numel() for gradient in gradients.values())
    overall = sum((kept[name] * gradient.numel() for name, gradient in gradients.items()), torch.zeros(())) / total
    for name, gradient in gradients.items():
        gradient /= 1e-10 + (kept[name] if scope == "tensor" else overall.to(gradient.dtype))
