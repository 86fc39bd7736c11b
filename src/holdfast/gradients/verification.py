"""Checks of a step: rows that keep to themselves, and sums that equal autograd's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    largest = max((float(g.abs().max()) for g in plain if g is not None and g.numel()), default=0.0)
    found: dict[Call, dict[int, Layout]] = {call: {} for call in calls}
    sure = True
    for (call, position), g, h in zip(edges, plain, weighted, strict=True):
        if g is None or h is None or g.numel() == 0:
            found[call][position] = possible_layouts(call.shapes[position], rows)[0]
            continue
        sure &= bool(g.any())
        tolerance = COARSE if coarse else TOLERANCE.get(h.dtype, COARSE)
        pair = _Pair(g, h, factors, tolerance, noise=100 * torch.finfo(h.dtype).eps * largest)
        if (layout := pair.layout()) is not None:
            found[call][position] = layout
        elif _has_rows(call) and not pair.has_owners():
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


def _has_rows(call: Call) -> bool:
    """Whether a call reads numbers other than parameters: what is made of parameters alone mixes no rows."""
    return any(t.is_floating_point() and not isinstance(t, torch.nn.Parameter) for t in call.tensors)


@dataclass(frozen=True)
class _Pair:
    """The two gradients in one output.

    Attributes:
        plain: Of the losses as they are.
        weighted: Of the losses times the factors.
        factors: (B,) one for each row.
        tolerance: Of rounding, relative to the largest number of a part.
        noise: What rounding leaves of zero.
    """

    plain: Tensor
    weighted: Tensor
    factors: Tensor
    tolerance: float
    noise: float

    def layout(self) -> Layout | None:
        """The first layout in which each row has its own factor between the gradients."""
        rows = len(self.factors)
        for layout in possible_layouts(self.plain.shape, rows):
            g, h = (layout.rows_first(t, rows).reshape(rows, -1) for t in (self.plain, self.weighted))
            if self._equal(g * self.factors.to(g)[:, None], h):
                return layout
        return None

    def has_owners(self) -> bool:
        """Whether along some dimension each part belongs to one row, be it in some other order or only of some rows."""
        return any(self._parts_have_owners(dimension) for dimension in range(self.plain.ndim))

    def _parts_have_owners(self, dimension: int) -> bool:
        """Whether each part along a dimension has the factor of some row between the gradients."""
        g, h = (t.movedim(dimension, 0).flatten(1) for t in (self.plain, self.weighted))
        squares = g.square().sum(1)
        factor = (g * h).sum(1) / squares.clamp_min(torch.finfo(g.dtype).tiny)
        known = self.factors.to(g).sort().values
        after = torch.searchsorted(known, factor).clamp(1, len(known) - 1)
        nearest = torch.where(factor - known[after - 1] < known[after] - factor, known[after - 1], known[after])
        return self._equal(torch.where(squares > 0, nearest, 0)[:, None] * g, h)

    def _equal(self, expected: Tensor, found: Tensor) -> bool:
        """Whether parts (N, F) are equal but for rounding."""
        size = found.abs().amax(dim=1)
        allowed = self.tolerance * size + 1e-3 * self.tolerance * size.max() + self.noise
        return bool(((expected - found).abs().amax(dim=1) <= allowed).all())
