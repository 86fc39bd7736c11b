"""From one request and its graph to the statistics of every parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from holdfast.gradients.calls import Call, Graph
from holdfast.gradients.layout import Layout, possible_layouts
from holdfast.gradients.plan import Claim, Plan, make_plan, refuse_row_mixing
from holdfast.gradients.request import Request
from holdfast.gradients.rules import LayerGradient, ModuleAlone, Workspace
from holdfast.gradients.statistics import Stats
from holdfast.gradients.units import Member, unit_statistics
from holdfast.gradients.verification import find_layouts, wrong_sums


class Collector:
    """Chooses a way for each parameter, goes it, and checks it the first time.

    Attributes:
        workspace: Buffers that outlive a step.
        ways: In words, how each parameter was served by the last request.
    """

    def __init__(self, chunk_bytes: int) -> None:
        self.workspace = Workspace()
        self.ways: dict[Tensor, str] = {}
        self._chunk_bytes = chunk_bytes
        self._slow: dict[Tensor, str] = {}
        self._layouts: dict[object, list[Layout | None]] = {}

    def collect(self, request: Request, graph: Graph, trainable: Sequence[Tensor]) -> dict[Tensor, Stats]:
        """Statistics of each trainable parameter."""
        statistics = {p: request.nothing(p) for p in trainable if p not in graph.uses}
        self.ways = dict.fromkeys(statistics, "the losses do not depend on it")
        used = [p for p in trainable if p in graph.uses]
        if len(request.grouping.sizes) == 1:
            self.ways |= dict.fromkeys(used, "one pass for the one environment")
            return statistics | request.passes(used)
        refuse_row_mixing(graph.outputs)
        layouts, first = self._find_layouts(request, graph)
        plan = make_plan(Graph({call: graph.outputs[call] for call in layouts}, graph.uses), used, self._slow)
        fast, failed = self._by_rules(request, graph, plan, layouts, first=first)
        if first:
            failed |= dict.fromkeys(
                wrong_sums(request.objective, fast, request.scale), "its rule disagreed with autograd"
            )
        self._slow |= failed
        slow = {**plan.slow, **failed}
        self._describe(plan, slow, len(request.grouping.sizes))
        return statistics | fast | (request.passes(list(slow)) if slow else {})

    def _find_layouts(self, request: Request, graph: Graph) -> tuple[dict[Call, Layout], bool]:
        """The layouts of the calls that a rule can serve, and whether these calls were seen for the first time."""
        rows = len(request.losses)
        signature = tuple((call.name, tuple(possible_layouts(call.shape, rows))) for call in graph.outputs)
        first = signature not in self._layouts
        if first:
            found = find_layouts(request.losses, graph)
            self._layouts[signature] = [found.get(call) for call in graph.outputs]
        layouts = zip(graph.outputs, self._layouts[signature], strict=True)
        return {call: layout for call, layout in layouts if layout is not None}, first

    def _by_rules(
        self, request: Request, graph: Graph, plan: Plan, layouts: Mapping[Call, Layout], *, first: bool
    ) -> tuple[dict[Tensor, Stats], dict[Tensor, str]]:
        """Statistics of what the plan claims, and what could not be computed on its module alone."""
        gradients = _output_gradients(request, graph, plan, keep=first or bool(plan.slow))
        statistics: dict[Tensor, Stats] = {}
        failed: dict[Tensor, str] = {}
        for claims in plan.units:
            parameters = {p for claim in claims for p in claim.parameters.values()}
            members = [
                _member(claim, layouts[claim.call], gradients[claim.call], len(request.losses)) for claim in claims
            ]
            try:
                with torch.no_grad():
                    found = unit_statistics([m for m in members if m], request, self.workspace, self._chunk_bytes)
            except (RuntimeError, ValueError, TypeError) as error:
                if not first or not any(isinstance(claim.rule, ModuleAlone) for claim in claims):
                    raise
                failed |= dict.fromkeys(parameters, f"its module cannot be mapped over environments ({_line(error)})")
            else:
                statistics |= {p: found.get(p) or request.nothing(p) for p in parameters}
        return statistics, failed

    def _describe(self, plan: Plan, slow: Mapping[Tensor, str], environments: int) -> None:
        for unit in plan.units:
            for claim in unit:
                self.ways |= dict.fromkeys(claim.parameters.values(), claim.rule.describe(claim.call.module))
        self.ways |= {p: f"{environments} backward passes: {reason}" for p, reason in slow.items()}


def _output_gradients(request: Request, graph: Graph, plan: Plan, *, keep: bool) -> dict[Call, dict[int, Tensor]]:
    calls = list(dict.fromkeys(claim.call for unit in plan.units for claim in unit))
    keys = [(call, position) for call in calls for position in graph.outputs[call]]
    found = request.gradients([graph.outputs[call][position] for call, position in keys], keep=keep)
    gradients: dict[Call, dict[int, Tensor]] = {call: {} for call in calls}
    for (call, position), gradient in zip(keys, found, strict=True):
        if gradient is not None:
            gradients[call][position] = gradient
    return gradients


def _member(claim: Claim, layout: Layout, gradients: Mapping[int, Tensor], rows: int) -> Member | None:
    """What a rule is given; None where the call does not reach the losses."""
    call = claim.call
    if not gradients:
        return None
    call.check_unmodified()
    inputs = call.input
    assert inputs is not None
    gradient = LayerGradient(
        call.module,
        frozenset(claim.parameters),
        layout.rows_first(inputs, rows),
        {position: layout.rows_first(g, rows) for position, g in gradients.items()},
        call.arguments,
        call.keywords,
    )
    return Member(gradient, claim.rule, claim.parameters)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:100]
