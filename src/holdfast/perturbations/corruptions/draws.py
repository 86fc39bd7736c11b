"""Randomness of a batch in which every image has its own: what an image gets does not depend on its neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Random numbers for N images, those of each from a generator of its own.

    Attributes:
        generators: One for each image, on the CPU; drawing moves them on.
        device: Where the numbers are put.
    """

    generators: tuple[torch.Generator, ...]
    device: torch.device

    @staticmethod
    def of(seeds: Tensor, device: torch.device) -> Draws:
        """Fresh generators from (N,) int64 seeds.

        >>> seeds = torch.tensor([3, 5])
        >>> both, second = (Draws.of(part, torch.device("cpu")) for part in (seeds, seeds[1:]))
        >>> bool((both.normal(4)[1] == second.normal(4)[0]).all())
        True
        """
        return Draws(tuple(torch.Generator().manual_seed(seed) for seed in seeds.tolist()), device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers: (N, *shape) float32."""
        out = torch.empty(len(self.generators), *shape)
        for row, rng in zip(out.unbind(), self.generators, strict=True):
            row.normal_(generator=rng)
        return out.to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers uniform on [0, 1), multiples of 2⁻²⁴: (N, *shape) float32."""
        out = torch.empty(len(self.generators), *shape)
        for row, rng in zip(out.unbind(), self.generators, strict=True):
            row.uniform_(generator=rng)
        return out.to(self.device)

    def bits(self, *shape: int) -> Tensor:
        """Whole numbers, uniform on all of 16 bits: (N, *shape) int16."""
        values = math.prod(shape)
        out = torch.empty(len(self.generators), -(-values // 4), dtype=torch.int64)
        for row, rng in zip(out.unbind(), self.generators, strict=True):
            row.random_(torch.iinfo(torch.int64).min, None, generator=rng)
        return out.view(torch.int16)[:, :values].reshape(-1, *shape).to(self.device)
