"""The multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Model

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky-relu": nn.LeakyReLU}


@register
@dataclass(frozen=True, kw_only=True)
class MLP(Model):
    """Fully connected layers on the flattened input.

    The last layer is called ``head``, all before it ``features``.

    Attributes:
        hidden: Widths of the hidden layers; empty for a linear model.
        activation: What follows each hidden layer.
        normalization: ``batch``: batch normalisation before each activation (Ioffe, Szegedy, *Batch normalization*,
            ICML 2015, arXiv:1502.03167); its statistics mix the rows of a batch, and so the environments in it.
        dropout: Probability of zeroing a hidden unit in training.
        init: ``torch``: PyTorch's own; ``he``: weights N(0, 2 / fan-in), biases 0.01 (He et al., *Delving Deep into
            Rectifiers*, ICCV 2015, arXiv:1502.01852).

    >>> import torch
    >>> MLP(hidden=(16,)).build((3, 8, 8), 10)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 10])
    """

    hidden: Annotated[tuple[int, ...], Range(low=1)] = (128, 128)
    activation: Literal["relu", "leaky-relu"] = "relu"
    normalization: Literal["none", "batch"] = "none"
    dropout: Annotated[float, Range(0.0, 1.0)] = 0.0
    init: Literal["torch", "he"] = "torch"

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        widths = [math.prod(input_shape), *self.hidden]
        features: list[nn.Module] = [nn.Flatten()]
        for width_in, width_out in itertools.pairwise(widths):
            features += [nn.Linear(width_in, width_out)]
            features += [nn.BatchNorm1d(width_out)] if self.normalization == "batch" else []
            features += [_ACTIVATIONS[self.activation]()]
            features += [nn.Dropout(self.dropout)] if self.dropout else []
        network = nn.Sequential(
            OrderedDict(features=nn.Sequential(*features), head=nn.Linear(widths[-1], outputs)),
        )
        return network.apply(_he) if self.init == "he" else network


def _he(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        nn.init.constant_(module.bias, 0.01)
