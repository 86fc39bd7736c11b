"""Checks of a step: rows that keep to themselves, and sums that equal autograd's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from holdfast.core.errors import UserError
from holdfast.gradients.calls import Call, Graph
from holdfast.gradients.layout import Layout, possible_layouts
from holdfast.gradients.statistics import Stats

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
COARSE = 0.05

Layouts = Mapping[Call, Mapping[int, Layout]]


def find_layouts(losses: Tensor, graph: Graph) -> tuple[Layouts, bool]:
    """Where each call's outputs keep the rows of the losses; calls with an output that keeps them nowhere are left out.

    The losses are differentiated twice, as they are and each multiplied by a random number of its own. What belongs to
    a row must have the second gradient as so many times the first.

    Returns:
        The layouts, and whether they are sure: a gradient of zero, as before a layer that starts at zero, tells
        nothing.

    Raises:
        UserError: A layer's floating-point outputs feed the losses of several rows.
    """
    rows = len(losses)
    if rows < 2:
        return {}, True
    generator = torch.Generator().manual_seed(rows)
    factors = (0.5 + torch.rand(rows, generator=generator, dtype=torch.float64)).to(losses).double()  # as rounded
    coarse = losses.element_size() < 4 or any(call.low_precision for call in graph.outputs)
    calls = [call for call in graph.outputs if all(possible_layouts(shape, rows) for shape in call.shapes.values())]
    edges = {(call, position): edge for call in calls for position, edge in graph.outputs[call].items()}
    plain, weighted = (
        _gradients(losses, weights, list(edges.values())) for weights in (torch.ones_like(factors), factors)
    )
    found: dict[Call, dict[int, Layout]] = {call: {} for call in calls}
    sure = True
    for (call, position), g, h in zip(edges, plain, weighted, strict=True):
        if g is None or h is None or g.numel() == 0:
            found[call][position] = possible_layouts(call.shapes[position], rows)[0]
            continue
        sure &= bool(g.any())
        tolerance = COARSE if coarse else TOLERANCE.get(h.dtype, COARSE)
        layout = _layout(g, h, factors, tolerance)
        if layout is not None:
            found[call][position] = layout
        elif _mixes(call, g, h, factors, tolerance):
            raise UserError(
                f"the outputs of layer {call.name!r} feed the losses of other rows: "
                "a model that mixes rows has no gradient per environment"
            )
    return {call: layouts for call, layouts in found.items() if layouts.keys() == graph.outputs[call].keys()}, sure


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
        tolerance = COARSE if low_precision else TOLERANCE.get(parameter.dtype, COARSE)
        error = (scale * statistics[parameter].sum - g).norm()
        if not error <= tolerance * g.norm() + 0.01 * tolerance * largest:
            wrong.append(parameter)
    return wrong


def _gradients(losses: Tensor, weights: Tensor, edges: Sequence[GradientEdge]) -> tuple[Tensor | None, ...]:
    if not edges:
        return ()
    return torch.autograd.grad((losses * weights.to(losses)).sum(), edges, retain_graph=True, allow_unused=True)


def _layout(plain: Tensor, weighted: Tensor, factors: Tensor, tolerance: float) -> Layout | None:
    """The first layout in which each row has its own factor between the two gradients."""
    for layout in possible_layouts(plain.shape, len(factors)):
        g, h = (layout.rows_first(t, len(factors)).reshape(len(factors), -1) for t in (plain, weighted))
        if _equal(g * factors.to(g)[:, None], h, tolerance):
            return layout
    return None


def _equal(expected: Tensor, found: Tensor, tolerance: float) -> bool:
    """Whether rows (N, F) are equal but for rounding, which is relative to the largest number of a row."""
    size = found.abs().amax(dim=1)
    return bool(((expected - found).abs().amax(dim=1) <= tolerance * size + 1e-3 * tolerance * size.max()).all())


def _mixes(call: Call, plain: Tensor, weighted: Tensor, factors: Tensor, tolerance: float) -> bool:
    """Whether no dimension that may hold rows holds parts that each belong to one row, be it in some other order.

    What is made of parameters alone belongs to all rows and mixes none.
    """
    if not any(t.is_floating_point() and not isinstance(t, torch.nn.Parameter) for t in call.tensors):
        return False
    return not any(
        size % len(factors) == 0 and _has_owners(plain.movedim(d, 0), weighted.movedim(d, 0), factors, tolerance)
        for d, size in enumerate(plain.shape)
    )


def _has_owners(plain: Tensor, weighted: Tensor, factors: Tensor, tolerance: float) -> bool:
    """Whether each part along the first dimension has the factor of some row between the two gradients."""
    g, h = plain.reshape(len(plain), -1), weighted.reshape(len(plain), -1)
    squares = g.square().sum(1)
    found = (g * h).sum(1) / squares.clamp_min(torch.finfo(g.dtype).tiny)
    known = factors.to(g).sort().values
    after = torch.searchsorted(known, found).clamp(1, len(known) - 1)
    nearest = torch.where(found - known[after - 1] < known[after] - found, known[after - 1], known[after])
    nearest = torch.where(squares > 0, nearest, 0)
    return _equal(nearest[:, None] * g, h, tolerance)
