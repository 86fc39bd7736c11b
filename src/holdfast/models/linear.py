"""The linear model."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Model


@register
@dataclass(frozen=True, kw_only=True)
class Linear(Model):
    """One linear layer, ``head``, on the flattened input.

    Attributes:
        bias: Whether there is an intercept.
        init_scale: Weights start at N(0, init_scale²) and the intercept at 0; None for PyTorch's own start.

    >>> [tuple(p.shape) for p in Linear(bias=False, init_scale=0.1).build((5,), 1).parameters()]
    [(1, 5)]
    """

    bias: bool = True
    init_scale: Annotated[float | None, Range(low=0.0)] = None

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        head = nn.Linear(math.prod(input_shape), outputs, bias=self.bias)
        if self.init_scale is not None:
            nn.init.normal_(head.weight, std=self.init_scale)
            if self.bias:
                nn.init.zeros_(head.bias)
        return nn.Sequential(OrderedDict(features=nn.Flatten(), head=head))
