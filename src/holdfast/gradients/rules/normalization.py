"""Normalising layers that keep rows apart: their weight's gradient is that of the output times the normalised input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.gradients.grouping import Chunk
from holdfast.gradients.rules.base import LayerGradient, Rule, Workspace, sum_channels, sum_positions


class TrailingNormRule(Rule):
    """LayerNorm and RMSNorm: parameters of the shape of the last dimensions."""

    def __init__(self, normalize: Callable[[nn.Module, Tensor], Tensor]) -> None:
        self._normalize = normalize

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        dimensions = len(cast(nn.LayerNorm, gradient.layer).normalized_shape)
        outputs = chunk.take_gradients(gradient.outputs)
        blocks = {}
        if "bias" in gradient.wanted:
            blocks["bias"] = sum_positions(outputs, keep=dimensions)
        if "weight" in gradient.wanted:
            normalized = self._normalize(gradient.layer, chunk.take(gradient.inputs).to(outputs.dtype))
            blocks["weight"] = sum_positions(normalized.mul_(outputs), keep=dimensions)
        return blocks


class ChannelNormRule(Rule):
    """GroupNorm and batch normalisation with fixed statistics: one parameter per channel, the dimension after rows."""

    def __init__(self, normalize: Callable[[nn.Module, Tensor], Tensor]) -> None:
        self._normalize = normalize

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        outputs = gradient.unfolded(chunk.take_gradients(gradient.outputs))
        blocks = {}
        if "bias" in gradient.wanted:
            blocks["bias"] = sum_channels(outputs)
        if "weight" in gradient.wanted:
            inputs = gradient.unfolded(chunk.take(gradient.inputs)).to(outputs.dtype).flatten(0, 1)
            normalized = self._normalize(gradient.layer, inputs).view(outputs.shape)
            blocks["weight"] = sum_channels(normalized.mul_(outputs))
        return blocks


def normalize_layer(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What LayerNorm scales."""
    norm = cast(nn.LayerNorm, layer)
    return F.layer_norm(inputs, norm.normalized_shape, eps=norm.eps)


def normalize_root_mean_square(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What RMSNorm scales."""
    norm = cast(nn.RMSNorm, layer)
    return F.rms_norm(inputs, norm.normalized_shape, eps=norm.eps)


def normalize_groups(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What GroupNorm scales."""
    norm = cast(nn.GroupNorm, layer)
    return torch.group_norm(inputs, norm.num_groups, eps=norm.eps)  # that of nn.functional refuses single values


def normalize_by_running_statistics(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What batch normalisation scales in evaluation mode."""
    norm = cast(nn.BatchNorm2d, layer)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    shape = (1, -1) + (1,) * (inputs.ndim - 2)
    centred = inputs - norm.running_mean.view(shape)
    return centred.mul_(torch.rsqrt(norm.running_var + norm.eps).view(shape))
