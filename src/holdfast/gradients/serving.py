"""One backward pass in which rules turn the gradients of outputs into statistics of parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from holdfast.gradients.calls import Call, Graph
from holdfast.gradients.layout import Layout
from holdfast.gradients.plan import Claim, Plan
from holdfast.gradients.request import Request
from holdfast.gradients.rules import RUN_AGAIN, LayerGradient, ModuleAlone, ModulePerEnvironment, Workspace
from holdfast.gradients.statistics import Stats
from holdfast.gradients.stream import stream_gradients
from holdfast.gradients.units import Member, collect_unit
from holdfast.gradients.verification import Layouts

_CANNOT_RUN_AGAIN = (RuntimeError, ValueError, TypeError, IndexError)


class Serving:
    """Serves what a plan claims, each unit as soon as its gradients are there; modules that run again come last.

    Attributes:
        failed: Parameters that could not be served, and why.
        unmapped: Modules that turned out not to be mapped over environments.
    """

    def __init__(
        self, request: Request, graph: Graph, plan: Plan, layouts: Layouts, workspace: Workspace, chunk_bytes: int
    ) -> None:
        self.failed: dict[Tensor, str] = {}
        self.unmapped: set[nn.Module] = set()
        self._request, self._graph, self._layouts = request, graph, layouts
        self._workspace, self._chunk_bytes = workspace, chunk_bytes
        self._units = plan.units
        self._at_once = {claims[0].call: claims for claims in plan.units if _needs_one_gradient(claims, graph)}
        self._later = [claims for claims in plan.units if claims[0].call not in self._at_once]
        self._sums = {p: request.accumulator(p) for claims in plan.units for p in _parameters(claims)}
        self._gradients: dict[Call, dict[int, Tensor]] = defaultdict(dict)
        self._arrived: set[Call] = set()

    def run(self, *, keep: bool) -> dict[Tensor, Stats]:
        """The statistics of all claimed parameters that could be served.

        Args:
            keep: Keep the graph; where something may fail, it is kept anyway.
        """
        self._keep = keep or bool(self._later)
        calls = dict.fromkeys(claim.call for claims in self._units for claim in claims)
        edges = {(call, position): edge for call in calls for position, edge in self._graph.outputs[call].items()}
        stream_gradients(self._request.objective, edges, self._graph, self._receive, retain_graph=self._keep)
        for claims in self._later:
            if any(isinstance(claim.rule, RUN_AGAIN) for claim in claims):
                self._run_again(claims)
            else:
                self._serve(claims)
        self._check_filled()
        return {
            p: sums.stats() if sums.environments else self._request.nothing(p)
            for p, sums in self._sums.items()
            if p not in self.failed
        }

    def _receive(self, key: tuple[Call, int], gradient: Tensor) -> None:
        call, position = key
        rows = self._layouts[call][position].rows_first(self._request.unscaled(gradient), len(self._request.losses))
        self._gradients[call][position] = rows
        self._arrived.add(call)
        if call in self._at_once:
            self._serve(self._at_once[call])
            del self._gradients[call]
            if not self._keep:
                call.release()

    def _serve(self, claims: Sequence[Claim]) -> None:
        members = [
            _member(claim, self._layouts[claim.call], self._gradients[claim.call])
            for claim in claims
            if claim.call in self._gradients
        ]
        if members:
            with torch.no_grad():
                collect_unit(members, self._request.grouping, self._sums, self._workspace, self._chunk_bytes)

    def _run_again(self, claims: Sequence[Claim]) -> None:
        """Mapped over environments, or else one by one; what cannot be had so fails."""
        ways = [claims]
        if any(isinstance(claim.rule, ModuleAlone) for claim in claims):
            ways.append([_one_by_one(claim) for claim in claims])
        reason = ""
        for way in ways:
            self._sums |= {p: self._request.accumulator(p) for p in _parameters(claims)}
            states = _random_states(self._request.losses.device)
            try:
                self._serve(way)
            except _CANNOT_RUN_AGAIN as error:
                reason = reason or f"its module cannot be run again alone ({str(error).partition(chr(10))[0][:100]})"
                continue
            finally:
                drew = _restore_random_states(states)
            if drew:
                reason = "its module draws random numbers"
                break
            if way is not claims:
                self.unmapped |= {claim.call.module for claim in claims if isinstance(claim.rule, ModuleAlone)}
            return
        self.failed |= dict.fromkeys(_parameters(claims), reason)

    def _check_filled(self) -> None:
        """A rule that made nothing of a gradient has failed: that is no gradient of zero."""
        for claims in self._units:
            for claim in claims:
                for p in claim.parameters.values():
                    if claim.call in self._arrived and not self._sums[p].environments and p not in self.failed:
                        self.failed[p] = "its layer's rule made nothing of it"


def _parameters(claims: Sequence[Claim]) -> list[Tensor]:
    return [p for claim in claims for p in claim.parameters.values()]


def _needs_one_gradient(claims: Sequence[Claim], graph: Graph) -> bool:
    """Whether a unit can be served as soon as the gradient of one output is there."""
    (claim, *more) = claims
    return not more and len(graph.outputs[claim.call]) == 1 and not isinstance(claim.rule, RUN_AGAIN)


def _one_by_one(claim: Claim) -> Claim:
    """The claim, environment after environment where its module was to be mapped over them."""
    rule = ModulePerEnvironment() if isinstance(claim.rule, ModuleAlone) else claim.rule
    return Claim(claim.call, rule, claim.parameters)


def _member(claim: Claim, layouts: Mapping[int, Layout], directions: Mapping[int, Tensor]) -> Member:
    call = claim.call
    call.check_unmodified()
    inputs = call.input
    assert inputs is not None, "a rule claims calls with an input only"
    layout = layouts[next(iter(directions))]
    rows = len(next(iter(directions.values())))
    gradient = LayerGradient(
        call.module,
        frozenset(claim.parameters),
        layout.rows_first(inputs, rows),
        directions,
        call.arguments,
        call.keywords,
        folded=layout is not Layout.ROWS,
    )
    return Member(gradient, claim.rule, claim.parameters)


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _restore_random_states(states: list[Tensor]) -> bool:
    """Put the global generators back; returns whether they had moved."""
    now = [torch.get_rng_state()] + [torch.cuda.get_rng_state() for _ in states[1:]]
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
    return not all(map(torch.equal, states, now))
