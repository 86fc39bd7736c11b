"""Random splits that are even within strata."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = (5**0.5 - 1) / 2


def stratified_parts(strata: Tensor, shares: Sequence[float], rng: torch.Generator) -> Tensor:
    """Deal rows into parts at random, so that every stratum is divided nearly in proportion to the shares.

    The rows are shuffled, sorted by stratum, and dealt along a golden-ratio sequence. Its evenness over every run of
    consecutive rows keeps a stratum of n rows within O(log n) rows of its exact shares, and, unlike rounding stratum
    by stratum, lets strata of one or two rows reach every part.

    Args:
        strata: (N,) int64 codes.
        shares: One positive number per part.
        rng: Decides which rows go where.

    Returns:
        (N,) int64 part of each row.

    >>> parts = stratified_parts(torch.arange(400) % 4, (0.75, 0.25), torch.Generator().manual_seed(0))
    >>> torch.bincount(parts).tolist()
    [301, 99]
    """
    shuffled = torch.randperm(len(strata), generator=rng)
    order = shuffled[torch.argsort(strata[shuffled], stable=True)]
    start = torch.rand((), generator=rng, dtype=torch.float64)
    sequence = (start + _GOLDEN * torch.arange(len(strata), dtype=torch.float64)) % 1.0
    ends = torch.tensor(shares, dtype=torch.float64).cumsum(0)
    parts = torch.empty(len(strata), dtype=torch.int64)
    parts[order] = torch.bucketize(sequence * ends[-1], ends[:-1], right=True)
    return parts
