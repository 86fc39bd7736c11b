"""A small convolutional network."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Model


@register
@dataclass(frozen=True, kw_only=True)
class CNN(Model):
    """3×3 convolutions with group normalisation, halving the image between them; the mean over positions; one layer.

    Group normalisation (Wu, He, *Group Normalization*, ECCV 2018, arXiv:1803.08494) keeps rows apart, so that
    gradients per environment or per example are exact.

    Attributes:
        channels: Channels of each block; multiples of ``groups``.
        groups: Groups of channels that are normalised together.

    >>> import torch
    >>> CNN().build((3, 8, 8), 10)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 10])
    """

    channels: Annotated[tuple[int, ...], Range(low=1)] = (32, 64)
    groups: Annotated[int, Range(low=1)] = 8

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) != 3:
            raise UserError(f"model 'cnn' takes (channels, height, width), not {input_shape}: use mlp")
        if not self.channels or any(width % self.groups for width in self.channels):
            raise UserError(f"model 'cnn': channels={self.channels} must be multiples of groups={self.groups}")
        blocks: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise([input_shape[0], *self.channels]):
            convolution = nn.Conv2d(width_in, width_out, 3, padding=1)
            pool = nn.MaxPool2d(2, ceil_mode=True)
            blocks += [convolution, nn.GroupNorm(self.groups, width_out), nn.ReLU(), pool]
        blocks += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(
            OrderedDict(features=nn.Sequential(*blocks), head=nn.Linear(self.channels[-1], outputs)),
        )
