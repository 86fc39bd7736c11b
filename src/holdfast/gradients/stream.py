"""One backward pass that hands each layer's output gradient over as soon as it is there, and keeps none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from holdfast.gradients.calls import Graph

Key = TypeVar("Key")


def stream_gradients(
    objective: Tensor,
    edges: Mapping[Key, GradientEdge],
    graph: Graph,
    receive: Callable[[Key, Tensor], None],
    *,
    retain_graph: bool,
) -> None:
    """Call ``receive`` with the gradient of the objective at each edge that has one, in the order of the pass.

    Gradients of parameters are not computed. Autograd returns the gradients only of the lowest edges, those with no
    other edge below them; a hook sees the others on their way down, so that their memory is free again as early as
    in an ordinary backward pass.

    Args:
        objective: A scalar.
        edges: Where, by any key.
        graph: What is under the objective.
        receive: What takes the gradients.
        retain_graph: Keep the graph.
    """
    if not edges:
        return
    above = graph.above({edge.node for edge in edges.values()})
    lowest = {key: edge for key, edge in edges.items() if edge.node not in above}
    handles = [
        edge.node.register_prehook(_deliver(receive, key, edge.output_nr))
        for key, edge in edges.items()
        if edge.node in above
    ]
    try:
        found = torch.autograd.grad(objective, list(lowest.values()), retain_graph=retain_graph, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    for key, gradient in zip(lowest, found, strict=True):
        if gradient is not None:
            receive(key, gradient)


def _deliver(
    receive: Callable[[Key, Tensor], None], key: Key, number: int
) -> Callable[[tuple[Tensor | None, ...]], None]:
    def hook(gradients: tuple[Tensor | None, ...]) -> None:
        gradient = gradients[number]
        if gradient is not None:
            receive(key, gradient)

    return hook
