"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.gradients.grouping import Chunk
from holdfast.gradients.rules.base import LayerGradient, Rule, Workspace, sum_channels

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


class ConvolutionRule(Rule):
    """g_e: autograd's own weight gradient on the rows of e, or for single rows a product of δ and patches."""

    def environment_bytes(self, gradient: LayerGradient, rows: int) -> int:
        others = super().environment_bytes(gradient, rows)
        if rows > 1 or gradient.folded:
            return others
        return others + _patch_bytes(cast(Convolution, gradient.layer), gradient.outputs)

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        layer = cast(Convolution, gradient.layer)
        outputs = gradient.unfolded(chunk.take_gradients(gradient.outputs))
        blocks = {}
        if "bias" in gradient.wanted:
            blocks["bias"] = sum_channels(outputs)
        if "weight" in gradient.wanted:
            inputs = gradient.unfolded(chunk.take(gradient.inputs)).to(outputs.dtype)
            block = workspace.take("convolution", (len(outputs), *layer.weight.shape), outputs)
            if outputs.shape[1] > 1:
                folded = outputs.shape[1] // max(chunk.sizes)
                sizes = [size * folded for size in chunk.sizes]
                blocks["weight"] = _environments(layer, inputs, outputs, sizes, block)
            else:
                blocks["weight"] = _single_rows(layer, inputs.squeeze(1), outputs.squeeze(1), block, workspace)
        return blocks


def _environments(layer: Convolution, inputs: Tensor, outputs: Tensor, sizes: Sequence[int], block: Tensor) -> Tensor:
    """(k, *shape) from (k, n, …) rows."""
    inputs, padding = _padded(layer, inputs.flatten(0, 1))
    inputs = inputs.unflatten(0, outputs.shape[:2])  # type: ignore[no-untyped-call]
    for e, size in enumerate(sizes):
        block[e] = torch.ops.aten.convolution_backward(
            outputs[e, :size],
            inputs[e, :size],
            block[e],  # only its shape and type matter
            None,
            layer.stride,
            padding,
            layer.dilation,
            False,
            [0] * len(layer.kernel_size),
            layer.groups,
            [False, True, False],
        )[1]
    return block


def _single_rows(layer: Convolution, inputs: Tensor, outputs: Tensor, block: Tensor, workspace: Workspace) -> Tensor:
    """(k, *shape) from (k, …) rows: per group, δ (out, positions) times patches (positions, in · kernel)."""
    inputs, padding = _padded(layer, inputs)
    if any(padding):
        inputs = F.pad(inputs, [side for size in reversed(padding) for side in (size, size)])
    channels_last = inputs.shape[1] * layer.kernel_size[-1] > outputs.shape[-1]  # what lies together in a patch
    if channels_last:
        inputs = inputs.movedim(1, -1).contiguous().movedim(-1, 1)
    patches = _patches(layer, inputs, channels_last=channels_last)
    if not patches.is_contiguous():
        patches = workspace.take("patches", tuple(patches.shape), patches).copy_(patches)
    products, positions = len(outputs) * layer.groups, outputs[0, 0].numel()
    result = block.view(products, layer.out_channels // layer.groups, -1)
    outputs = outputs.reshape(products, -1, positions)
    if not channels_last:
        torch.bmm(outputs, patches.view(products, -1, positions).transpose(1, 2), out=result)
        return block
    torch.bmm(outputs, patches.view(products, positions, -1), out=result)
    return block.view(*block.shape[:2], *layer.kernel_size, block.shape[2]).movedim(-1, 2)


def _patches(layer: Convolution, inputs: Tensor, *, channels_last: bool) -> Tensor:
    """View of padded (k, C, …): (k, groups, *positions, *kernel, in), or (k, groups, in, *kernel, *positions)."""
    for dimension, (size, dilation, stride) in enumerate(
        zip(layer.kernel_size, layer.dilation, layer.stride, strict=True), start=2
    ):
        inputs = inputs.unfold(dimension, dilation * (size - 1) + 1, stride)[..., ::dilation]
    inputs = inputs.unflatten(1, (layer.groups, -1))  # type: ignore[no-untyped-call]
    dimensions = len(layer.kernel_size)
    positions, kernel = range(3, 3 + dimensions), range(3 + dimensions, 3 + 2 * dimensions)
    order = (*positions, *kernel, 2) if channels_last else (2, *kernel, *positions)
    return inputs.permute(0, 1, *order)


def _patch_bytes(layer: Convolution, outputs: Tensor) -> int:
    """Memory of the patches of one row, from (B, C, …) output gradients."""
    return layer.in_channels * math.prod(layer.kernel_size) * outputs[0, 0].numel() * outputs.element_size()


def _padded(layer: Convolution, inputs: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Inputs and the padding with zeros that is left to do."""
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode), (0,) * len(layer.kernel_size)
    return inputs, layer.padding
