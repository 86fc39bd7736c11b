"""The way that always works: one backward pass per environment through the recorded graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.grouping import Grouping
from holdfast.gradients.statistics import Stats


def pass_per_environment(
    contributions: Tensor,
    grouping: Grouping,
    parameters: Sequence[Tensor],
    accumulator: Callable[[Tensor], Accumulator],
    *,
    scale: float = 1.0,
    retain_graph: bool = False,
) -> dict[Tensor, Stats]:
    """Statistics of some parameters by E backward passes, exact whatever the graph is.

    Args:
        contributions: (B,) terms of the objective, with a graph.
        grouping: Its environments.
        parameters: Those asked for.
        accumulator: Makes what takes the gradients of a parameter, the largest environment first.
        scale: Factor that the contributions hold and the statistics shall not.
        retain_graph: Keep the graph after the last pass.
    """
    sums = {parameter: accumulator(parameter) for parameter in parameters}
    count = len(grouping.sizes)
    for place, e in enumerate(grouping.largest_first()):
        objective = (contributions * (grouping.environment == e)).sum() if count > 1 else contributions.sum()
        gradients = torch.autograd.grad(
            objective, parameters, retain_graph=retain_graph or place + 1 < count, materialize_grads=True
        )
        for parameter, gradient in zip(parameters, gradients, strict=True):
            sums[parameter].add((gradient / scale)[None])
    return {parameter: of_parameter.stats() for parameter, of_parameter in sums.items()}
