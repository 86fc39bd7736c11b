"""What every rule is given and what it offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.grouping import Chunk, Grouping


@dataclass(frozen=True, eq=False)
class LayerGradient:
    """One call of a layer, with the gradient of the objective in what it put out.

    Attributes:
        layer: The layer.
        wanted: Names, in the layer, of the parameters whose gradients are asked for.
        inputs: (B, …) its first argument.
        directions: (B, …) gradients in its outputs by their position.
        arguments: All its positional arguments as they were given.
        keywords: All its keyword arguments.
        folded: Whether the rows here hold several rows of the layer each, along a dimension of their own.
    """

    layer: nn.Module
    wanted: frozenset[str]
    inputs: Tensor
    directions: Mapping[int, Tensor]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    folded: bool = False

    @property
    def outputs(self) -> Tensor:
        """(B, …) gradient in the output of a layer that has one."""
        return next(iter(self.directions.values()))

    def unfolded(self, taken: Tensor) -> Tensor:
        """(k, n, …) of a chunk to (k, n', …) with all rows of the layer in one dimension."""
        return taken.flatten(1, 2) if self.folded else taken

    @property
    def rows(self) -> list[Tensor]:
        """Those arguments that hold a row for each row of the batch, positional ones first."""
        return [value.detach() for value in (*self.arguments, *self.keywords.values()) if self.holds_rows(value)]

    def holds_rows(self, value: Any) -> bool:
        """Whether an argument's first dimension is that of the rows."""
        return isinstance(value, Tensor) and value.ndim > 0 and len(value) == len(self.outputs)

    @property
    def parameter_bytes(self) -> int:
        """Memory of the parameters whose gradients are asked for."""
        return sum(p.numel() * p.element_size() for p in map(self.layer.get_parameter, self.wanted))

    @property
    def row_bytes(self) -> int:
        """Memory of one row of inputs and outputs."""
        return sum(t[0].numel() * t.element_size() for t in (self.inputs, *self.directions.values()))


class Workspace:
    """Buffers that are used again from chunk to chunk and step to step: fresh memory costs page faults."""

    def __init__(self) -> None:
        self._buffers: dict[object, Tensor] = {}

    def take(self, slot: object, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor; what the slot held before is lost."""
        size = torch.Size(shape).numel()
        buffer = self._buffers.get(slot)
        if buffer is None or buffer.numel() < size or buffer.dtype != like.dtype or buffer.device != like.device:
            buffer = self._buffers[slot] = torch.empty(size, dtype=like.dtype, device=like.device)
        return buffer[:size].view(shape)

    @property
    def bytes(self) -> int:
        """Their memory."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self._buffers.values())

    def clear(self) -> None:
        """Free all buffers."""
        self._buffers.clear()


class Rule:
    """Gradients per environment of one family of layers."""

    def supports(self, layer: nn.Module) -> bool:
        """Whether this layer's options are among those that the rule knows."""
        return True

    def environment_bytes(self, gradient: LayerGradient, rows: int) -> int:
        """What the gradients of an environment with so many rows take, with all that is needed to make them."""
        return gradient.parameter_bytes + rows * gradient.row_bytes

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        """(k, *shape) gradients of k environments by parameter name; they are the caller's to overwrite."""
        raise NotImplementedError

    def shortcut(self, gradient: LayerGradient, grouping: Grouping, sums: Mapping[str, Accumulator]) -> bool:
        """Fill the sums without any gradient per environment, where the layer has such a formula.

        Returns:
            Whether it has.
        """
        return False

    def describe(self, layer: nn.Module) -> str:
        """In words, how the gradients are made."""
        return f"the rule of {type(layer).__name__}"


def sum_positions(gradients: Tensor, keep: int) -> Tensor:
    """(k, n, …) to (k, …): sum over rows and all positions except the last ``keep`` dimensions; always a copy."""
    return gradients.sum(dim=tuple(range(1, gradients.ndim - keep)))


def sum_channels(gradients: Tensor) -> Tensor:
    """(k, n, C, …) to (k, C): sum over rows and positions; always a copy."""
    if gradients.ndim > 3:
        gradients = gradients.flatten(3).sum(3)  # first what is contiguous: several times faster than all at once
    return gradients.sum(1)
