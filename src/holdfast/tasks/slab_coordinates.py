"""Coordinates that tell one of two classes: by their sign, or by which of several parallel slabs they lie in.

The slabs are intervals of equal width within [−1, 1], symmetric about 0 and at a distance of twice the margin from
each other; from one to the next the class changes, and the middle one is of class 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SHARES: Mapping[int, Mapping[int, float]] = {
    3: {0: 1.0, 1: 1.0},
    5: {0: 3 / 4, 2: 1 / 4, 1: 1.0},
    7: {0: 1 / 2, 2: 1 / 2, 1: 7 / 8, 3: 1 / 8},
}
"""For each number of slabs the share of its class's rows that lies in the slabs so far from the middle, both sides."""


def linear_coordinate(label: Tensor, margin: float, rng: torch.Generator) -> Tensor:
    """A coordinate whose sign tells the class: uniform on [margin, 1] for class 1, on [−1, −margin] for class 0.

    Args:
        label: (N,) int64, 0 or 1.
        margin: In [0, 1).
        rng: Draws it.

    Returns:
        (N,) float64.
    """
    return (2 * label - 1) * (margin + (1 - margin) * _uniform(label, rng))


def slab_coordinate(label: Tensor, slabs: int, margin: float, rng: torch.Generator) -> Tensor:
    """A coordinate that tells the class by its slab, and on no side of any threshold more than partly.

    Args:
        label: (N,) int64, 0 or 1.
        slabs: 3, 5 or 7.
        margin: Half the distance between slabs, below :func:`largest_margin`.
        rng: Draws it.

    Returns:
        (N,) float64 in [−1, 1].
    """
    width = 2 * (1 - (slabs - 1) * margin) / slabs
    slab = torch.empty_like(label)
    for side in (0, 1):
        places = [place for place in SHARES[slabs] if place % 2 == side]
        shares = torch.tensor([SHARES[slabs][place] for place in places])
        rows = label == side
        drawn = torch.multinomial(shares.expand(1, -1), int(rows.sum()), replacement=True, generator=rng)[0]
        slab[rows] = torch.tensor(places)[drawn]
    sign = 2 * torch.randint(2, label.shape, generator=rng) - 1
    return sign * slab * (width + 2 * margin) + (_uniform(label, rng) - 0.5) * width


def largest_margin(slabs: int) -> float:
    """The margin at which slabs have no width left."""
    return 1 / (slabs - 1)


def _uniform(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=rng, dtype=torch.float64)
