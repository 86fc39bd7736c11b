"""Mirror images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from holdfast.core.augmentation import Augmentation
from holdfast.core.options import Range
from holdfast.core.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class HorizontalFlip(Augmentation):
    """Swap left and right.

    Attributes:
        probability: Of each image being swapped.

    >>> image = torch.tensor([[[[1.0, 2.0]]]])
    >>> HorizontalFlip(probability=1.0)(image, torch.Generator())
    tensor([[[[2., 1.]]]])
    """

    probability: Annotated[float, Range(low=0.0, high=1.0)] = 0.5

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        swapped = torch.rand(len(x), generator=rng) < self.probability
        return torch.where(swapped.to(x.device)[:, None, None, None], x.flip(3), x)
