"""Taps: read what a layer puts out, or takes in, while the model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from holdfast.core.errors import UserError, unknown_name

REPRESENTATION = "representation"
"""Tapped under this name is what the last linear layer takes in, flattened to (B, D)."""


@contextlib.contextmanager
def tapped(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of named layers during forward passes inside the block; the last pass counts.

    :data:`REPRESENTATION` names what the head reads.

    Raises:
        UserError: The model has no layer of that name.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> import torch
    >>> with tapped(model, ["0"]) as features:
    ...     _ = model(torch.zeros(5, 2))
    >>> features["0"].shape
    torch.Size([5, 3])
    """
    modules = dict(model.named_modules())
    features: dict[str, Tensor] = {}
    handles = []
    try:
        for layer in layers:
            if layer == REPRESENTATION:
                handles.append(last_linear(model).register_forward_pre_hook(_keep_input(features)))
            elif layer in modules:
                handles.append(modules[layer].register_forward_hook(_keep_output(features, layer)))
            else:
                raise unknown_name("layer", layer, filter(None, modules))
        yield features
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def tapped_input(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the first input of a layer at every forward pass inside the block."""
    inputs: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield inputs
    finally:
        handle.remove()


def last_linear(model: nn.Module) -> nn.Linear:
    """The last linear layer in order of registration: the head of a usual network.

    Raises:
        UserError: The model has none.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError(f"{type(model).__name__} has no linear layer to take as its head: use a model that ends in one")
    return layers[-1]


def _keep_output(features: dict[str, Tensor], layer: str) -> Any:
    def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
        features[layer] = output

    return hook


def _keep_input(features: dict[str, Tensor]) -> Any:
    def hook(module: nn.Module, arguments: Any) -> None:
        features[REPRESENTATION] = arguments[0].flatten(1)

    return hook
