"""A model in the units of its target."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.registry import register
from holdfast.core.task import Model
from holdfast.models.cnn import CNN
from holdfast.models.linear import Linear
from holdfast.models.mlp import MLP


@register
@dataclass(frozen=True, kw_only=True)
class Rescaled(Model):
    """Another model, with outputs shift + scale · f(x).

    A regression task sets shift and scale to the training mean and standard deviation of its target, so that a fresh
    network starts at the right place and size and its predictions are in the user's units. Both are fixed buffers of
    a last layer ``units``; the other layers keep their names.

    Attributes:
        model: The other model.
        shift: Added to every output.
        scale: Factor of every output.

    >>> network = Rescaled(shift=100.0, scale=20.0).build((4,), 1)
    >>> [name for name, _ in network.named_children()]
    ['features', 'head', 'units']
    """

    model: MLP | Linear | CNN = MLP()
    shift: float = 0.0
    scale: float = 1.0

    def replaced_by(self, other: Model) -> Model:
        return dataclasses.replace(self, model=other)  # type: ignore[arg-type]  # options list ours, code takes any

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        network = self.model.build(input_shape, outputs)
        layers = network.named_children() if isinstance(network, nn.Sequential) else [("network", network)]
        return nn.Sequential(OrderedDict([*layers, ("units", Affine(self.shift, self.scale))]))


class Affine(nn.Module):
    """shift + scale · x with fixed numbers."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: float, scale: float) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(shift))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return self.shift + self.scale * x
