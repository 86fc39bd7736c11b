"""Running statistics of batch normalisation, computed anew for weights that were put together."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast.weights.tree import WeightTree


def has_running_statistics(module: nn.Module) -> bool:
    """Whether a network holds running statistics, which no arithmetic on weights gets right."""
    return any(isinstance(layer, _BatchNorm) and layer.track_running_stats for layer in module.modules())


def recalibrate(module: nn.Module, tree: WeightTree, inputs: Iterable[Any]) -> WeightTree:
    """The tree with running statistics that are averages over some inputs.

    P. Izmailov et al., *Averaging weights leads to wider optima and better generalization*, UAI 2018, arXiv:1803.05407.

    Args:
        module: The architecture; it is not changed.
        tree: Its weights.
        inputs: Batches (B, …) of training inputs, as the network was trained on them; B of 2 or more.

    Returns:
        The tree itself where no layer holds running statistics.
    """
    if not has_running_statistics(module):
        return tree
    network = copy.deepcopy(module).eval()
    tree.load_into(network)
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats:
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative average
            layer.train()
    with torch.no_grad():
        for x in inputs:
            network(x)
    return WeightTree.of(network)
