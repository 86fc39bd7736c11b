"""Which parameters are served by the rules of which calls, and which by nothing but a pass per environment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.gradients.calls import Call, Graph
from holdfast.gradients.layout import Layout
from holdfast.gradients.rules import ModuleAlone, ModulePerEnvironment, Rule, rule_for
from holdfast.gradients.verification import Layouts


@dataclass(frozen=True, eq=False)
class Claim:
    """A call, its rule, and the parameters it gives gradients of, by their name in the layer."""

    call: Call
    rule: Rule
    parameters: Mapping[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """Claims in groups that share parameters, and the parameters that nothing claims with the reason why."""

    units: tuple[tuple[Claim, ...], ...]
    slow: Mapping[Tensor, str]


def make_plan(
    losses: Tensor,
    graph: Graph,
    layouts: Layouts,
    parameters: Iterable[Tensor],
    slow: Mapping[Tensor, str],
    unmapped: Collection[nn.Module],
) -> Plan:
    """Serve each of the parameters that the graph reads.

    Args:
        losses: Of the graph.
        graph: What is under them.
        layouts: The calls whose outputs keep the rows of the losses.
        parameters: Those that require a gradient.
        slow: Parameters known to need a pass per environment, and why.
        unmapped: Modules without a rule that cannot be mapped over environments.
    """
    used = {p for p in parameters if p in graph.uses}
    unclaimed = {p: slow.get(p, "a hook is on it") for p in used if p in slow or _has_hook(p)}
    ruled = [claim for call in layouts if (claim := _ruled(call, used - unclaimed.keys()))]
    counts: dict[Tensor, int] = {}
    for claim in ruled:
        for p in claim.parameters.values():
            counts[p] = counts.get(p, 0) + 1
    claimed = {p for p, count in counts.items() if count >= graph.uses[p]}
    alone = _alone(losses, graph, layouts, used - counts.keys() - unclaimed.keys(), unmapped)
    claimed.update(p for claim in alone for p in claim.parameters.values())
    left = [p for p in used if p not in claimed and p not in unclaimed]
    return Plan(_units([*ruled, *alone], claimed), {**unclaimed, **{p: _why(p, graph, layouts) for p in left}})


def refuse_row_mixing(calls: Iterable[Call]) -> None:
    """Refuse batch normalisation in training mode.

    Raises:
        UserError: A row's output depends on other rows, so no gradient belongs to one environment.
    """
    for call in calls:
        if isinstance(call.module, nn.modules.batchnorm._BatchNorm) and (
            call.training or call.module.running_mean is None
        ):
            raise UserError(
                f"layer {call.name!r} ({type(call.module).__name__} in training mode) mixes the rows of environments: "
                "call .eval() on it, use GroupNorm, or pass one environment per micro-batch"
            )


def _has_hook(parameter: Tensor) -> bool:
    return bool(parameter._backward_hooks) or bool(getattr(parameter, "_post_accumulate_grad_hooks", None))


def _why(parameter: Tensor, graph: Graph, layouts: Layouts) -> str:
    """In words, why nothing claims a parameter."""
    calls = [call for call in graph.outputs if any(parameter is p for p in call.parameters.values())]
    if any(call.altered for call in calls):
        return "a hook that is older than the engine may change what its layer puts out"
    if any(call not in layouts for call in calls):
        return "its layer does not keep the rows of the losses in place"
    return "it is read outside of the layers that a rule serves"


def _ruled(call: Call, used: set[Tensor]) -> Claim | None:
    rule = None if call.altered or call.input is None else rule_for(call.module)
    if rule is None:
        return None
    own = {name: call.parameters.get(name) for name in ("weight", "bias")}
    mine = {name: p for name, p in own.items() if p is not None and p in used}
    return Claim(call, rule, mine) if mine else None


def _alone(
    losses: Tensor, graph: Graph, layouts: Layouts, unclaimed: set[Tensor], unmapped: Collection[nn.Module]
) -> list[Claim]:
    """Let modules without a rule claim what is theirs, or their submodules', and is read nowhere else.

    The innermost come first. Their outputs have the rows first, as has what a second run puts out.
    """
    calls = [
        call
        for call, of_outputs in layouts.items()
        if unclaimed
        and call.input is not None
        and rule_for(call.module) is None
        and set(of_outputs.values()) == {Layout.ROWS}
    ]
    claims, taken = [], dict[Tensor, nn.Module]()
    for call in sorted(calls, key=lambda call: -call.name.count(".") - bool(call.name)):
        mine = {
            name: p
            for name, p in call.module.named_parameters()
            if p in unclaimed and taken.setdefault(p, call.module) is call.module
        }
        if mine:
            rule = ModulePerEnvironment() if call.module in unmapped else ModuleAlone()
            claims.append(Claim(call, rule, mine))
    outside = graph.leaves_outside(losses, [claim.call for claim in claims]) if claims else set()
    return [
        Claim(claim.call, claim.rule, {name: p for name, p in claim.parameters.items() if p not in outside})
        for claim in claims
    ]


def _units(claims: Iterable[Claim], allowed: set[Tensor]) -> tuple[tuple[Claim, ...], ...]:
    """Claims that share a parameter, directly or by way of others, together."""
    units: list[tuple[set[Tensor], list[Claim]]] = []
    for claim in claims:
        mine = {name: p for name, p in claim.parameters.items() if p in allowed}
        if not mine:
            continue
        parameters, members = set(mine.values()), [Claim(claim.call, claim.rule, mine)]
        apart = []
        for unit in units:
            if parameters.isdisjoint(unit[0]):
                apart.append(unit)
            else:
                parameters |= unit[0]
                members = unit[1] + members
        units = [*apart, (parameters, members)]
    return tuple(tuple(members) for _, members in units)
