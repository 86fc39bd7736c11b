"""A small residual network for small images."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Model


@register(name="fast-resnet")
@dataclass(frozen=True, kw_only=True)
class FastResNet(Model):
    """Convolutions of growing width with a residual pair after every second; the largest value over positions; a layer.

    The shape of David Page's nine-layer network (*How to train your ResNet*, 2018), with group normalisation (Wu, He,
    ECCV 2018, arXiv:1803.08494) for batch normalisation, so that gradients per example are exact. The last layer has no
    bias and its outputs are divided by 8.

    Attributes:
        channels: Of the first convolution and of each that follows; multiples of ``groups``. All but the first halve
            the image, and those at even places, counted from the second, have a residual pair.
        groups: Groups of channels that are normalised together.

    >>> import torch
    >>> FastResNet(channels=(8, 16, 16, 16)).build((3, 32, 32), 10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    channels: Annotated[tuple[int, ...], Range(low=1)] = (64, 128, 256, 512)
    groups: Annotated[int, Range(low=1)] = 8

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) != 3:
            raise UserError(f"model 'fast-resnet' takes (channels, height, width), not {input_shape}: use mlp")
        if not self.channels or any(width % self.groups for width in self.channels):
            raise UserError(f"model 'fast-resnet': channels={self.channels} must be multiples of groups={self.groups}")
        blocks: list[nn.Module] = [self._convolution(input_shape[0], self.channels[0])]
        for place, (width_in, width_out) in enumerate(itertools.pairwise(self.channels)):
            blocks += [self._convolution(width_in, width_out), nn.MaxPool2d(2, ceil_mode=True)]
            if place % 2 == 0:
                pair = [self._convolution(width_out, width_out) for _ in range(2)]
                blocks.append(Residual(nn.Sequential(*pair)))
        features = nn.Sequential(*blocks, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        head = nn.Linear(self.channels[-1], outputs, bias=False)
        return nn.Sequential(OrderedDict(features=features, head=head, scale=Scaled(0.125)))

    def _convolution(self, width_in: int, width_out: int) -> nn.Module:
        convolution = nn.Conv2d(width_in, width_out, 3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.GroupNorm(self.groups, width_out), nn.ReLU())


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that f keeps."""
        return x + self.inner(x)  # type: ignore[no-any-return]


class Scaled(nn.Module):
    """x times a fixed number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return self.factor * x
