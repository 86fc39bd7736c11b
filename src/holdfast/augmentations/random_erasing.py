"""Images with a part missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from holdfast.core.augmentation import Augmentation
from holdfast.core.options import Range
from holdfast.core.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class RandomErasing(Augmentation):
    """Overwrite a random rectangle with noise that is uniform on [0, 1].

    Zhong, Zheng, Kang, Li, Yang, *Random erasing data augmentation*, AAAI 2020, arXiv:1708.04896.

    Area and proportions are drawn as in the paper, the proportions on a logarithmic scale, so that a rectangle is as
    likely to be twice as high as twice as wide. One that would not fit is cut to the image; the paper draws another.

    Attributes:
        probability: Of each image losing a rectangle.
        smallest, largest: The rectangle's part of the area.
        aspect: The least quotient of height and width; the greatest is its inverse.
    """

    probability: Annotated[float, Range(low=0.0, high=1.0)] = 0.5
    smallest: Annotated[float, Range(low=0.0, high=1.0)] = 0.02
    largest: Annotated[float, Range(low=0.0, high=1.0)] = 0.4
    aspect: Annotated[float, Range(low=0.01, high=1.0)] = 0.3

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise ValueError(f"smallest={self.smallest:g} is more than largest={self.largest:g}: swap them")

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        B, _, H, W = x.shape
        chosen, area, proportion, top, left = torch.rand(5, B, generator=rng, dtype=torch.float64)
        area = (self.smallest + area * (self.largest - self.smallest)) * H * W
        ratio = torch.exp((2 * proportion - 1) * math.log(self.aspect))
        height = (area * ratio).sqrt().round().clamp(max=H) * (chosen < self.probability)
        width = (area / ratio).sqrt().round().clamp(max=W)
        inside = _between(top, height, H)[:, :, None] & _between(left, width, W)[:, None, :]
        noise = torch.rand(x.shape, generator=rng, dtype=x.dtype).to(x.device)
        return torch.where(inside[:, None].to(x.device), noise, x)


def _between(place: Tensor, length: Tensor, end: int) -> Tensor:
    """(B, end) which pixels lie in a stretch of a length (B,) whose beginning is drawn from those that let it fit."""
    start = torch.floor(place * (end - length + 1))[:, None]
    pixels = torch.arange(end)
    return (pixels >= start) & (pixels < start + length[:, None])
