"""Checks of the first step: rows that keep to themselves, and sums that equal autograd's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from holdfast.core.errors import UserError
from holdfast.gradients.calls import Call, Graph
from holdfast.gradients.layout import Layout, possible_layouts
from holdfast.gradients.statistics import Stats

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}


def find_layouts(losses: Tensor, graph: Graph) -> tuple[dict[Call, Layout], bool]:
    """Where each call's first output keeps the rows of the losses; calls that keep them nowhere are left out.

    Half of the losses, chosen at random, must have no gradient in the outputs of the other rows. Rows that fail in
    every layout are mixed with others.

    Returns:
        The layouts, and whether they are sure: a gradient of zero, as before a layer that starts at zero, tells
        nothing.

    Raises:
        UserError: A layer's floating-point outputs feed the losses of other rows.
    """
    rows = len(losses)
    half = torch.randperm(rows, generator=torch.Generator().manual_seed(0)).to(losses.device) < rows // 2
    calls = [call for call in graph.outputs if possible_layouts(call.shape, rows)] if rows > 1 else []
    edges = [next(iter(graph.outputs[call].values())) for call in calls]
    of_half, of_rest = _gradients(losses, half, edges), _gradients(losses, ~half, edges)
    found = {}
    sure = True
    for call, g, h in zip(calls, of_half, of_rest, strict=True):
        sure &= any(gradient is None or bool(gradient.any()) for gradient in (g, h))
        for layout in possible_layouts(call.shape, rows):
            if _stays(layout, g, ~half) and _stays(layout, h, half):
                found[call] = layout
                break
        else:
            if call.input is not None and call.input.is_floating_point():
                raise UserError(
                    f"the outputs of layer {call.name!r} feed the losses of other rows: "
                    "a model that mixes rows has no gradient per environment"
                )
    return found, sure


def wrong_sums(
    objective: Tensor, statistics: Mapping[Tensor, Stats], scale: float, *, low_precision: bool
) -> list[Tensor]:
    """Parameters whose summed gradient is not that of the objective over ``scale``; its graph is kept."""
    parameters = list(statistics)
    if not parameters:
        return []
    pooled = torch.autograd.grad(objective, parameters, retain_graph=True, materialize_grads=True)
    largest = max((g.norm() for g in pooled), default=torch.zeros(()))
    wrong = []
    for parameter, g in zip(parameters, pooled, strict=True):
        tolerance = 0.05 if low_precision else TOLERANCE.get(parameter.dtype, 0.05)
        error = (scale * statistics[parameter].sum - g).norm()
        if not error <= tolerance * g.norm() + 0.01 * tolerance * largest:
            wrong.append(parameter)
    return wrong


def _gradients(losses: Tensor, mask: Tensor, edges: list[GradientEdge]) -> tuple[Tensor | None, ...]:
    if not edges:
        return ()
    return torch.autograd.grad((losses * mask).sum(), edges, retain_graph=True, allow_unused=True)


def _stays(layout: Layout, gradient: Tensor | None, others: Tensor) -> bool:
    return gradient is None or not layout.rows_first(gradient, len(others))[others].any()
