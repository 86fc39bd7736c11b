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
"""Up to so many output positions, one product per row beats one convolution per row."""

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


class ConvolutionRule(Rule):
    """g_e: autograd's own weight gradient on the rows of e; for single rows of small images, products of patches."""

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        layer = cast(Convolution, gradient.layer)
        outputs = chunk.take_gradients(gradient.outputs)
        blocks = {}
        if "bias" in gradient.wanted:
            blocks["bias"] = sum_channels(outputs)
        if "weight" in gradient.wanted:
            inputs, padding = _padded(layer, chunk.take(gradient.inputs).to(outputs.dtype).flatten(0, 1))
            if _has_small_images(layer, outputs):
                blocks["weight"] = _by_patches(layer, inputs, outputs.flatten(0, 1), padding, workspace)
            else:
                inputs = inputs.unflatten(0, outputs.shape[:2])  # type: ignore[no-untyped-call]
                blocks["weight"] = _by_environment(layer, inputs, outputs, padding, chunk.sizes, workspace)
        return blocks


def _padded(layer: Convolution, inputs: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Inputs and the padding with zeros that is left to do."""
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode), (0,) * len(layer.kernel_size)
    return inputs, layer.padding


def _has_small_images(layer: Convolution, outputs: Tensor) -> bool:
    is_plain = isinstance(layer, nn.Conv2d) and layer.groups == 1
    return is_plain and outputs.shape[1] == 1 and outputs[0, 0, 0].numel() <= FEW_POSITIONS


def _by_patches(
    layer: Convolution, inputs: Tensor, outputs: Tensor, padding: tuple[int, ...], workspace: Workspace
) -> Tensor:
    """(k, …) of k environments of one row each."""
    patches = F.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)
    outputs = outputs.flatten(2)
    block = workspace.take("convolution", (len(outputs), outputs.shape[1], patches.shape[1]), outputs)
    torch.bmm(outputs, patches.transpose(1, 2), out=block)
    return block.view(len(outputs), *layer.weight.shape)


def _by_environment(
    layer: Convolution,
    inputs: Tensor,
    outputs: Tensor,
    padding: tuple[int, ...],
    sizes: tuple[int, ...],
    workspace: Workspace,
) -> Tensor:
    """(k, …) of environments of any size."""
    block = workspace.take("convolution", (len(sizes), *layer.weight.shape), outputs)
    weight = layer.weight.to(outputs.dtype)
    for e, size in enumerate(sizes):
        _, block[e], _ = torch.ops.aten.convolution_backward(
            outputs[e, :size],
            inputs[e, :size],
            weight,
            None,
            layer.stride,
            padding,
            layer.dilation,
            False,
            [0] * len(layer.kernel_size),
            layer.groups,
            [False, True, False],
        )
    return block
