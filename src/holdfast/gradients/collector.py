"""From one request and its graph to the statistics of every parameter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from holdfast.gradients.calls import Graph
from holdfast.gradients.layout import Layout
from holdfast.gradients.plan import Plan, make_plan, refuse_row_mixing
from holdfast.gradients.request import Request
from holdfast.gradients.rules import Workspace
from holdfast.gradients.serving import Serving
from holdfast.gradients.statistics import Stats
from holdfast.gradients.verification import Layouts, find_layouts, wrong_sums

_MOST_KINDS = 256


@dataclass
class Knowledge:
    """What was learnt of steps of one kind.

    Attributes:
        layouts: Of the calls in order, where their outputs keep the rows; None where they do not.
        sure: Whether that was seen, and need not be looked at again at once.
        slow: Parameters that need a pass per environment, and why.
        unmapped: Modules without a rule that cannot be mapped over environments.
        steps: How many there were.
    """

    layouts: list[Mapping[int, Layout] | None] = field(default_factory=list)
    sure: bool = False
    slow: dict[Tensor, str] = field(default_factory=dict)
    unmapped: set[nn.Module] = field(default_factory=set)
    steps: int = 0

    @property
    def due(self) -> bool:
        """Whether this step is checked: the 1st, 2nd, 4th, 8th …, because what values decide may change unseen."""
        return not self.sure or self.steps & (self.steps - 1) == 0


class Collector:
    """Chooses a way for each parameter, goes it, and checks it.

    Steps are of one kind if their graphs, shapes, modes and trainable parameters are the same. Of each kind the first
    step is checked against autograd, and others more and more seldom; every step where values may move rows.

    Attributes:
        workspace: Buffers that outlive a step.
        ways: In words, how each parameter was served by the last request.
    """

    def __init__(self, chunk_bytes: int) -> None:
        self.workspace = Workspace()
        self.ways: dict[Tensor, str] = {}
        self._chunk_bytes = chunk_bytes
        self._known: dict[object, Knowledge] = {}

    def collect(self, request: Request, graph: Graph, trainable: Sequence[Tensor], kind: object) -> dict[Tensor, Stats]:
        """Statistics of each trainable parameter.

        Args:
            request: What is asked for.
            graph: What is under its losses.
            trainable: The parameters.
            kind: What else tells kinds of steps apart.
        """
        statistics = {p: request.nothing(p) for p in trainable if p not in graph.uses}
        self.ways = dict.fromkeys(statistics, "the losses do not depend on it")
        used = [p for p in trainable if p in graph.uses]
        environments = len(request.grouping.sizes)
        if environments == 1:
            self.ways |= dict.fromkeys(used, "one pass for the one environment")
            return statistics | request.passes(used)
        refuse_row_mixing(graph.outputs)
        known = self._knowledge(request, graph, (kind, tuple(trainable)))
        check = known.due or graph.moves_rows
        layouts = self._layouts(request, graph, known, check=check)
        plan = make_plan(request.losses, graph, layouts, used, known.slow, known.unmapped)
        serving = Serving(request, graph, plan, layouts, self.workspace, self._chunk_bytes)
        fast = serving.run(keep=check or bool(plan.slow) or request.retain_graph)
        failed = dict(serving.failed)
        if check:
            failed |= _disagreeing(request, graph, fast, known)
        known.slow |= failed
        known.unmapped |= serving.unmapped
        slow = {**plan.slow, **failed}
        self._describe(plan, slow, environments)
        return statistics | fast | (request.passes(list(slow)) if slow else {})

    def _knowledge(self, request: Request, graph: Graph, kind: object) -> Knowledge:
        """Of steps of this kind; one more is counted."""
        calls = tuple(
            (call.name, call.training, call.low_precision, tuple(call.shapes.items())) for call in graph.outputs
        )
        signature = (len(request.losses), calls, graph.structure, kind)
        if signature not in self._known and len(self._known) >= _MOST_KINDS:
            self._known.clear()
        known = self._known.setdefault(signature, Knowledge())
        known.steps += 1
        return known

    def _layouts(self, request: Request, graph: Graph, known: Knowledge, *, check: bool) -> Layouts:
        """The layouts of the calls that a rule can serve."""
        if not check:
            of_calls = zip(graph.outputs, known.layouts, strict=True)
            return {call: layouts for call, layouts in of_calls if layouts is not None}
        found, known.sure = find_layouts(request.losses, graph)
        known.layouts = [found.get(call) for call in graph.outputs]
        return found

    def _describe(self, plan: Plan, slow: Mapping[Tensor, str], environments: int) -> None:
        for unit in plan.units:
            for claim in unit:
                self.ways |= dict.fromkeys(claim.parameters.values(), claim.rule.describe(claim.call.module))
        self.ways |= {p: f"{environments} backward passes: {reason}" for p, reason in slow.items()}


def _disagreeing(request: Request, graph: Graph, fast: Mapping[Tensor, Stats], known: Knowledge) -> dict[Tensor, str]:
    """Parameters whose summed gradient is not autograd's."""
    low_precision = any(call.low_precision for call in graph.outputs)
    wrong = wrong_sums(request.objective, fast, request.scale, low_precision=low_precision)
    if wrong and known.steps > 1:
        warnings.warn(
            f"the gradients of {len(wrong)} parameters are no longer what their layers' rules make of them, perhaps "
            "since some steps: they take the slow way from here on",
            stacklevel=2,
        )
    return dict.fromkeys(wrong, "its rule disagreed with autograd")
