"""From one request and its graph to the statistics of every parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.calls import Call, Graph
from holdfast.gradients.layout import Layout, possible_layouts
from holdfast.gradients.plan import Claim, Plan, make_plan, refuse_row_mixing
from holdfast.gradients.request import Request
from holdfast.gradients.rules import RUN_AGAIN, LayerGradient, ModuleAlone, ModulePerEnvironment, Workspace
from holdfast.gradients.statistics import Stats
from holdfast.gradients.stream import stream_gradients
from holdfast.gradients.units import Member, collect_unit
from holdfast.gradients.verification import find_layouts, wrong_sums

_CANNOT_RUN_AGAIN = (RuntimeError, ValueError, TypeError)


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
        self._unmapped: set[nn.Module] = set()
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
        plan = make_plan(layouts, graph.uses, used, self._slow, self._unmapped)
        fast, failed = self._by_rules(request, graph, plan, layouts, first=first)
        if first:
            low_precision = any(call.low_precision for call in graph.outputs)
            wrong = wrong_sums(request.objective, fast, request.scale, low_precision=low_precision)
            failed |= dict.fromkeys(wrong, "its rule disagreed with autograd")
        self._slow |= failed
        slow = {**plan.slow, **failed}
        self._describe(plan, slow, len(request.grouping.sizes))
        return statistics | fast | (request.passes(list(slow)) if slow else {})

    def _find_layouts(self, request: Request, graph: Graph) -> tuple[dict[Call, Layout], bool]:
        """The layouts of the calls that a rule can serve, and whether calls such as these need be checked."""
        rows = len(request.losses)
        signature = tuple(
            (call.name, call.module.training, call.low_precision, tuple(possible_layouts(call.shape, rows)))
            for call in graph.outputs
        )
        if signature in self._layouts:
            layouts = zip(graph.outputs, self._layouts[signature], strict=True)
            return {call: layout for call, layout in layouts if layout is not None}, False
        found, sure = find_layouts(request.losses, graph)
        if sure:
            self._layouts[signature] = [found.get(call) for call in graph.outputs]
        return found, True

    def _by_rules(
        self, request: Request, graph: Graph, plan: Plan, layouts: Mapping[Call, Layout], *, first: bool
    ) -> tuple[dict[Tensor, Stats], dict[Tensor, str]]:
        """Statistics of what the plan claims, and what could not be computed on its module alone."""
        keep = first or bool(plan.slow) or request.retain_graph
        at_once = {claims[0].call: claims for claims in plan.units if _needs_one_gradient(claims, graph)}
        claimed = dict.fromkeys(p for claims in plan.units for claim in claims for p in claim.parameters.values())
        sums = {p: Accumulator(p, request.needs) for p in claimed}
        failed: dict[Tensor, str] = {}
        gradients: dict[Call, dict[int, Tensor]] = defaultdict(dict)

        def receive(key: tuple[Call, int], gradient: Tensor) -> None:
            call, position = key
            gradients[call][position] = layouts[call].rows_first(request.unscaled(gradient), len(request.losses))
            if call in at_once:
                serve(at_once[call])
                del gradients[call]
                if not keep:
                    call.release()

        def serve(claims: Sequence[Claim]) -> None:
            members = [
                _member(claim, layouts[claim.call], gradients[claim.call])
                for claim in claims
                if claim.call in gradients
            ]
            if members:
                with torch.no_grad():
                    collect_unit(members, request.grouping, sums, self.workspace, self._chunk_bytes)

        calls = dict.fromkeys(claim.call for claims in plan.units for claim in claims)
        edges = {(call, position): edge for call in calls for position, edge in graph.outputs[call].items()}
        stream_gradients(request.objective, edges, graph, receive, retain_graph=keep)
        later = [claims for claims in plan.units if claims[0].call not in at_once]
        for claims in later:
            try:
                serve(claims)
            except _CANNOT_RUN_AGAIN as error:
                if not first or not any(isinstance(claim.rule, ModuleAlone) for claim in claims):
                    raise
                parameters = [p for claim in claims for p in claim.parameters.values()]
                sums |= {p: Accumulator(p, request.needs) for p in parameters}
                self._unmapped |= {claim.call.module for claim in claims if isinstance(claim.rule, ModuleAlone)}
                try:
                    serve([_one_by_one(claim) for claim in claims])
                except _CANNOT_RUN_AGAIN:
                    reason = f"its module cannot be run again alone ({str(error).partition(chr(10))[0][:100]})"
                    failed |= dict.fromkeys(parameters, reason)
        served = {
            p: sums[p].stats() if sums[p].environments else request.nothing(p) for p in claimed if p not in failed
        }
        return served, failed

    def _describe(self, plan: Plan, slow: Mapping[Tensor, str], environments: int) -> None:
        for unit in plan.units:
            for claim in unit:
                self.ways |= dict.fromkeys(claim.parameters.values(), claim.rule.describe(claim.call.module))
        self.ways |= {p: f"{environments} backward passes: {reason}" for p, reason in slow.items()}


def _needs_one_gradient(claims: Sequence[Claim], graph: Graph) -> bool:
    """Whether a unit can be served as soon as the gradient of one output is there."""
    (claim, *more) = claims
    return not more and len(graph.outputs[claim.call]) == 1 and not isinstance(claim.rule, RUN_AGAIN)


def _one_by_one(claim: Claim) -> Claim:
    """The claim, environment after environment where its module was to be mapped over them."""
    rule = ModulePerEnvironment() if isinstance(claim.rule, ModuleAlone) else claim.rule
    return Claim(claim.call, rule, claim.parameters)


def _member(claim: Claim, layout: Layout, directions: Mapping[int, Tensor]) -> Member:
    call = claim.call
    call.check_unmodified()
    inputs = call.input
    assert inputs is not None
    rows = len(next(iter(directions.values())))
    gradient = LayerGradient(
        call.module,
        frozenset(claim.parameters),
        layout.rows_first(inputs, rows),
        directions,
        call.arguments,
        call.keywords,
    )
    return Member(gradient, claim.rule, claim.parameters)
