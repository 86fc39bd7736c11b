"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.gradients.grouping import Chunk
from holdfast.gradients.rules.base import LayerGradient, Rule, Workspace, sum_channels

FEW_POSITIONS = 64
"""Up to so many output positions, a product of patches beats a convolution for gradients of single rows."""

FEW_CHANNELS = 16
"""Below so many input channels, one call per row beats one grouped call for many rows."""

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


class ConvolutionRule(Rule):
    """g_e: autograd's own weight gradient on the rows of e.

    Single rows are the groups of one grouped convolution, or for small images products of patches.
    """

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        layer = cast(Convolution, gradient.layer)
        outputs = chunk.take_gradients(gradient.outputs)
        blocks = {}
        if "bias" in gradient.wanted:
            blocks["bias"] = sum_channels(outputs)
        if "weight" in gradient.wanted:
            inputs, padding = _padded(layer, chunk.take(gradient.inputs).to(outputs.dtype).flatten(0, 1))
            if outputs.shape[1] > 1:
                inputs = inputs.unflatten(0, outputs.shape[:2])  # type: ignore[no-untyped-call]
                blocks["weight"] = _environments(layer, inputs, outputs, padding, chunk.sizes, workspace)
            else:
                blocks["weight"] = _single_rows(layer, inputs, outputs.flatten(0, 1), padding, workspace)
        return blocks


def _padded(layer: Convolution, inputs: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Inputs and the padding with zeros that is left to do."""
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode), (0,) * len(layer.kernel_size)
    return inputs, layer.padding


def _environments(
    layer: Convolution,
    inputs: Tensor,
    outputs: Tensor,
    padding: tuple[int, ...],
    sizes: tuple[int, ...],
    workspace: Workspace,
) -> Tensor:
    """(k, *shape) from (k, n, …) rows."""
    block = workspace.take("convolution", (len(sizes), *layer.weight.shape), outputs)
    for e, size in enumerate(sizes):
        block[e] = _weight_gradient(layer, inputs[e, :size], outputs[e, :size], padding, block[e], layer.groups)
    return block


def _single_rows(
    layer: Convolution, inputs: Tensor, outputs: Tensor, padding: tuple[int, ...], workspace: Workspace
) -> Tensor:
    """(k, *shape) from (k, …) rows."""
    rows, shape = len(outputs), layer.weight.shape
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and outputs[0, 0].numel() <= FEW_POSITIONS:
        patches = F.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)
        block = workspace.take("convolution", (rows, shape[0], patches.shape[1]), outputs)
        return torch.bmm(outputs.flatten(2), patches.transpose(1, 2), out=block).view(rows, *shape)
    if inputs.shape[1] < FEW_CHANNELS:
        return _environments(layer, inputs[:, None], outputs[:, None], padding, (1,) * rows, workspace)
    like = workspace.take("convolution", (rows * shape[0], *shape[1:]), outputs)
    inputs, outputs = inputs.flatten(0, 1)[None], outputs.flatten(0, 1)[None]
    return _weight_gradient(layer, inputs, outputs, padding, like, rows * layer.groups).view(rows, *shape)


def _weight_gradient(
    layer: Convolution, inputs: Tensor, outputs: Tensor, padding: tuple[int, ...], like: Tensor, groups: int
) -> Tensor:
    """Summed over rows; only the shape and type of ``like`` matter."""
    gradient: Tensor = torch.ops.aten.convolution_backward(
        outputs,
        inputs,
        like,
        None,
        layer.stride,
        padding,
        layer.dilation,
        False,
        [0] * len(layer.kernel_size),
        groups,
        [False, True, False],
    )[1]
    return gradient
