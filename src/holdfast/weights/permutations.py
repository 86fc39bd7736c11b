"""Permutations of hidden units: which axes of which weights they move, and moving them.

Hidden units have no order. Swapping two of them, with what goes in and what comes out, leaves the function as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.weights.functional import Functional
from holdfast.weights.tree import WeightTree

Permutations = Mapping[str, Tensor]
"""For each set of units, (n,): unit i of the result is unit c[i] of what is permuted."""

_SAME_UNITS = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Identity,
    nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten,
)  # fmt: skip
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Axis:
    """The units that an axis of a tensor runs over.

    Attributes:
        units: Name of the set of units.
        each: Entries for each unit, one after the other: H·W where a picture of channels was flattened.
    """

    units: str
    each: int = 1


@dataclass(frozen=True)
class PermutationSpec:
    """Which axes of which weights move together.

    Attributes:
        axes: For each tensor, an :class:`Axis` or None for each of its dimensions; tensors left out are not moved.
        taps: For each set of units, a layer that puts out their activations, for matching by these.
        bundles: For each set of units that is normalised in bundles, how many these are: only whole bundles are
            swapped, and units within one.
    """

    axes: Mapping[str, tuple[Axis | None, ...]]
    taps: Mapping[str, str] = dataclasses.field(default_factory=dict)
    bundles: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(module: nn.Module) -> PermutationSpec:
        """The spec of a chain of layers: an ``nn.Sequential``, in which others may lie.

        Raises:
            UserError: It is no such chain, or has a layer that is not known here; write the axes down then.

        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> PermutationSpec.of(net).axes["2.weight"]
        (None, Axis(units='0', each=1))
        """
        layers = list(_chain(module, ""))
        weighted = [name for name, layer in layers if isinstance(layer, (nn.Linear, nn.Conv2d))]
        if not weighted:
            raise UserError(
                f"{type(module).__name__} has no linear or convolutional layer: there is nothing to permute"
            )
        walk = _Walk(weighted[-1])
        for name, layer in layers:
            walk.meet(name, layer)
        return PermutationSpec(walk.axes, walk.taps, walk.bundles)

    def sizes(self, tree: WeightTree) -> dict[str, int]:
        """How many units each set has."""
        tensors = tree.tensors
        return {
            axis.units: tensors[name].shape[place] // axis.each
            for name, axes in self.axes.items()
            for place, axis in enumerate(axes)
            if axis is not None
        }

    def identity(self, tree: WeightTree) -> dict[str, Tensor]:
        """The permutations that move nothing."""
        return {units: torch.arange(size) for units, size in self.sizes(tree).items()}

    def random(self, tree: WeightTree, rng: torch.Generator) -> dict[str, Tensor]:
        """Random permutations."""
        return {units: _shuffled(size, self.bundles.get(units, 1), rng) for units, size in self.sizes(tree).items()}

    def check(self, module: nn.Module, x: Tensor, rng: torch.Generator) -> None:
        """Make sure that a random permutation leaves a network's outputs as they are.

        Args:
            module: The network.
            x: (B, …) inputs.
            rng: Draws the permutation.

        Raises:
            UserError: It does not.
        """
        tree, network = WeightTree.of(module), Functional.of(module)
        moved = permuted(self, self.random(tree, rng), tree)
        before, after = (network.outputs(weights, x) for weights in (tree, moved))
        if not torch.allclose(before, after, rtol=1e-3, atol=1e-4 * float(before.abs().max().clamp_min(1.0))):
            raise UserError("permuting the units changes what the network says: an axis is missing from its spec")


def permuted(spec: PermutationSpec, permutations: Permutations, tree: WeightTree) -> WeightTree:
    """A tree with its units moved; the network says the same.

    Args:
        spec: Which axes they are.
        permutations: Where each unit of the result comes from.
        tree: What is moved.
    """

    def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: moved(tensor, spec.axes.get(name, ()), permutations) for name, tensor in tensors.items()}

    return WeightTree(move(tree.parameters), move(tree.buffers), tree.counters)


def moved(tensor: Tensor, axes: tuple[Axis | None, ...], permutations: Permutations, but: int | None = None) -> Tensor:
    """A tensor with the entries of its axes moved, of all but one where that is named."""
    for place, axis in enumerate(axes):
        if axis is not None and place != but:
            order = permutations[axis.units]
            index = (order[:, None] * axis.each + torch.arange(axis.each)).flatten()
            tensor = tensor.index_select(place, index.to(tensor.device))
    return tensor


@dataclass
class _Walk:
    """What is known of a chain of layers after some of them.

    Attributes:
        last: The layer whose outputs are the network's.
        units: The set of units that the next layer reads; None before the first and after the last.
        size: How many they are.
    """

    last: str
    units: str | None = None
    size: int = 0
    axes: dict[str, tuple[Axis | None, ...]] = dataclasses.field(default_factory=dict)
    taps: dict[str, str] = dataclasses.field(default_factory=dict)
    bundles: dict[str, int] = dataclasses.field(default_factory=dict)

    def meet(self, name: str, layer: nn.Module) -> None:
        """Go through one more layer."""
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            self._weighted(name, layer)
        elif isinstance(layer, _NORMS):
            self._norm(name, layer)
        elif not isinstance(layer, _SAME_UNITS):
            raise UserError(
                f"layer {name!r} is {type(layer).__name__}, of which the units are not known: write down the axes of "
                "a PermutationSpec yourself"
            )
        if self.units is not None:
            self.taps[self.units] = name

    def _weighted(self, name: str, layer: nn.Linear | nn.Conv2d) -> None:
        incoming = None if self.units is None else Axis(self.units, layer.weight.shape[1] // self.size)
        self.units, self.size = (None, 0) if name == self.last else (name, len(layer.weight))
        outgoing = None if self.units is None else Axis(self.units)
        self.axes[f"{name}.weight"] = (outgoing, incoming, *[None] * (layer.weight.ndim - 2))
        if layer.bias is not None:
            self.axes[f"{name}.bias"] = (outgoing,)

    def _norm(self, name: str, layer: nn.Module) -> None:
        if self.units is None:
            return
        if isinstance(layer, nn.GroupNorm):
            self.bundles[self.units] = layer.num_groups
        for part, tensor in (*layer.named_parameters(), *layer.named_buffers()):
            if tensor.ndim == 1:
                self.axes[f"{name}.{part}"] = (Axis(self.units, len(tensor) // self.size),)


def _shuffled(size: int, bundles: int, rng: torch.Generator) -> Tensor:
    """(n,) a random permutation of bundles of units, and of the units in each."""
    each = size // bundles
    within = torch.stack([torch.randperm(each, generator=rng) for _ in range(bundles)])
    return (torch.randperm(bundles, generator=rng)[:, None] * each + within).flatten()


def _chain(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested sequences, in order, by their full names."""
    if isinstance(module, nn.Sequential):
        for child, layer in module.named_children():
            yield from _chain(layer, f"{name}.{child}" if name else child)
    else:
        yield name, module
