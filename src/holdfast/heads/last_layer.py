"""The last layer of a network: what goes in, what becomes of its output, and putting another in its place."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.predictors import forward
from holdfast.core.taps import tapped_input
from holdfast.heads.linear import Array, Head


def inputs_of(layer: nn.Linear, network: nn.Module, data: Dataset) -> Array:
    """(N, F) what goes into a layer.

    Raises:
        UserError: It is not one vector per row.
    """
    with tapped_input(layer) as inputs:
        forward(network, data)
    if sum(map(len, inputs)) != len(data):
        raise UserError("the network's last linear layer is not called once for each row: dfr cannot refit it")
    features = torch.cat(inputs)
    if features.ndim != 2:
        raise UserError(f"the last layer takes inputs of shape {tuple(features.shape[1:])} per row: dfr refits vectors")
    return np.asarray(features.double().cpu().numpy())


def line_after(layer: nn.Linear, network: nn.Module, row: Dataset) -> tuple[float, float]:
    """Shift and slope of what a network does to the output of its last layer, probed with one row.

    Raises:
        UserError: It is not a line, so that this is not the last layer.
    """

    def outputs(value: float) -> Tensor:
        handle = layer.register_forward_hook(lambda module, arguments, output: torch.full_like(output, value))
        try:
            return forward(network, row).double()
        finally:
            handle.remove()

    at_0, at_1, at_2 = (outputs(value) for value in (0.0, 1.0, 2.0))
    shift, slope = float(at_0[0, 0]), float((at_1 - at_0)[0, 0])
    if slope == 0 or not torch.allclose(at_2, torch.full_like(at_2, shift + 2 * slope)):
        raise UserError("the network's last linear layer does not give its outputs: dfr cannot refit it")
    return shift, slope


def targets_of(layer: nn.Linear, network: nn.Module, data: Dataset, numbers: bool) -> np.ndarray:
    """(N,) what the head should put out: labels, with the fixed line after the head undone where they are numbers.

    Raises:
        UserError: The layer does not give the network's outputs.
    """
    shift, slope = line_after(layer, network, data.take(torch.arange(1)))
    if not numbers and (shift, slope) != (0, 1):
        raise UserError("the network's last linear layer does not give its outputs: dfr cannot refit it")
    y = (data.labels.double() - shift) / slope if numbers else data.labels
    return np.asarray(y.numpy())


@torch.no_grad()
def install(head: Head, layer: nn.Linear) -> None:
    """Overwrite a layer's weights."""
    layer.weight.copy_(torch.from_numpy(head.coef))
    if layer.bias is not None:
        layer.bias.copy_(torch.from_numpy(head.intercept))
