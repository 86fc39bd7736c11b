"""Images moved by a few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.core.augmentation import Augmentation
from holdfast.core.options import Range
from holdfast.core.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class RandomCrop(Augmentation):
    """Pad with zeros on all sides and cut out the old size at a random place, all places being equally likely.

    Krizhevsky, Sutskever, Hinton, *ImageNet classification with deep convolutional neural networks*, NeurIPS 2012; with
    padding in He, Zhang, Ren, Sun, *Deep residual learning for image recognition*, CVPR 2016, arXiv:1512.03385.

    Attributes:
        padding: Pixels on each side, and thus how far an image moves at most.

    >>> image = torch.ones(1, 1, 2, 2)
    >>> RandomCrop(padding=1)(image, torch.Generator().manual_seed(1))
    tensor([[[[1., 0.],
              [1., 0.]]]])
    """

    padding: Annotated[int, Range(low=1)] = 4

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        B, C, H, W = x.shape
        padded = F.pad(x, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2, B, 1), generator=rng).to(x.device)
        rows, columns = top + torch.arange(H, device=x.device), left + torch.arange(W, device=x.device)
        image, channel = torch.arange(B, device=x.device), torch.arange(C, device=x.device)
        return padded[
            image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
        ]
