"""REPAIR: give a network put together from others the statistics that its layers would have had.

K. Jordan, H. Sedghi, O. Saukh, R. Entezari, B. Neyshabur, *REPAIR: REnormalizing Permuted Activations for Interpolation
Repair*, ICLR 2023, arXiv:2211.08403.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.weights.functional import Functional
from holdfast.weights.recalibration import has_running_statistics, recalibrate
from holdfast.weights.tree import WeightTree

_LEAST = 1e-4
"""A channel counts as varying at least by this share of its goal, so that dead ones are not blown up."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and variance of each of C channels of a layer's outputs before its nonlinearity, (C,) each."""

    mean: Tensor
    variance: Tensor


def repair(
    module: nn.Module, merged: WeightTree, ends: Sequence[tuple[float, WeightTree]], inputs: Sequence[Any]
) -> WeightTree:
    """Rescale and shift the channels of every layer but the last to the mixed statistics of the ends.

    Averaging makes activations smaller layer after layer. Where the network has batch normalisation its running
    statistics are computed anew instead, which does the same; a layer without a bias is left as it is.

    Args:
        module: The architecture.
        merged: The weights put together.
        ends: Those they were made of, aligned, with the share of each; shares sum to 1.
        inputs: Batches (B, …) of training inputs, as the networks were trained on them.

    Returns:
        Weights of the same architecture.
    """
    if has_running_statistics(module):
        return recalibrate(module, merged, inputs)
    network = Functional.of(module)
    found = [(share, activation_moments(network, tree, inputs)) for share, tree in ends]
    goals = {
        layer: Moments(
            sum(share * moments[layer].mean for share, moments in found),  # type: ignore[arg-type]
            sum(share * moments[layer].variance.sqrt() for share, moments in found).square(),  # type: ignore[union-attr]
        )
        for layer in found[0][1]
    }
    seen = _moments_while_mended(network, merged, inputs, goals)
    parameters = dict(merged.parameters)
    for layer, goal in goals.items():
        factor = _factor(goal, seen[layer].variance)
        weight, bias = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
        parameters[f"{layer}.weight"] = weight * factor.to(weight).reshape(-1, *[1] * (weight.ndim - 1))
        parameters[f"{layer}.bias"] = (goal.mean + factor * (bias.double() - seen[layer].mean)).to(bias)
    return merged.with_parameters(parameters)


def activation_moments(network: Functional, tree: WeightTree, inputs: Sequence[Any]) -> dict[str, Moments]:
    """Moments of every linear and convolutional layer with a bias but the last, in one pass over the inputs."""
    return _moments_while_mended(network, tree, inputs, {})


def variance_ratios(
    network: Functional, merged: WeightTree, ends: Sequence[tuple[float, WeightTree]], inputs: Sequence[Any]
) -> dict[str, float]:
    """For each layer, the mean variance of its channels over what the ends' standard deviations would give."""
    of_merged = activation_moments(network, merged, inputs)
    of_ends = [(share, activation_moments(network, tree, inputs)) for share, tree in ends]
    ratios = {}
    for layer, moments in of_merged.items():
        wanted = sum(share * found[layer].variance.sqrt() for share, found in of_ends)
        ratios[layer] = float(moments.variance.sum() / wanted.square().sum())  # type: ignore[union-attr]
    return ratios


def _moments_while_mended(
    network: Functional, tree: WeightTree, inputs: Sequence[Any], goals: Mapping[str, Moments]
) -> dict[str, Moments]:
    """Moments of the layers while each batch's outputs are brought to the goals, so that later layers see that."""
    layers = _layers(network.module)
    sums: dict[str, list[Tensor]] = {name: [] for name in layers}
    with torch.no_grad(), _hooked(layers, sums, goals):
        for x in inputs:
            network.outputs(tree, x)
    moments = {}
    for name, parts in sums.items():
        count, first, second = (torch.stack(part).sum(0) for part in zip(*parts, strict=True))
        mean = first / count
        moments[name] = Moments(mean, (second / count - mean.square()).clamp_min(0))
    return moments


def _factor(goal: Moments, variance: Tensor) -> Tensor:
    """(C,) what a layer's outputs of this variance are multiplied by to vary as the goal does."""
    tiny = torch.finfo(variance.dtype).tiny
    return (goal.variance / (variance + _LEAST * goal.variance).clamp_min(tiny)).sqrt()


@contextlib.contextmanager
def _hooked(
    layers: Mapping[str, nn.Module], sums: Mapping[str, list[Any]], goals: Mapping[str, Moments]
) -> Iterator[None]:
    def hook(name: str) -> Any:
        def see(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
            rows = output.double().movedim(1, -1).reshape(-1, output.shape[1])
            first, second = rows.sum(0), rows.square().sum(0)
            sums[name].append((torch.tensor(float(len(rows)), dtype=torch.float64), first, second))
            if name not in goals:
                return None
            mean = first / len(rows)
            variance = (second / len(rows) - mean.square()).clamp_min(0)
            factor = _factor(goals[name], variance)
            shape = (-1, *[1] * (output.ndim - 2))
            shift = goals[name].mean - factor * mean
            return output * factor.to(output).reshape(shape) + shift.to(output).reshape(shape)

        return see

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    """Linear and convolutional layers with a bias, all but the last of all."""
    every = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    return {name: layer for name, layer in every[:-1] if layer.bias is not None}
