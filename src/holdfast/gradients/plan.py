"""Which parameters are served by the rules of which calls, and which by nothing but a pass per environment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.gradients.calls import Call
from holdfast.gradients.rules import ModuleAlone, ModulePerEnvironment, Rule, rule_for


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
    calls: Collection[Call],
    uses: Mapping[Tensor, int],
    parameters: Iterable[Tensor],
    slow: Mapping[Tensor, str],
    unmapped: Collection[nn.Module] = (),
) -> Plan:
    """Serve each of the parameters that the graph reads.

    Args:
        calls: Those whose outputs keep the rows of the losses.
        uses: How many nodes of the graph read each leaf.
        parameters: Those that require a gradient.
        slow: Parameters known to need a pass per environment, and why.
        unmapped: Modules without a rule that cannot be mapped over environments.
    """
    used = {p for p in parameters if p in uses}
    ruled = [claim for call in calls if (claim := _ruled(call, used - slow.keys()))]
    counts: dict[Tensor, int] = {}
    for claim in ruled:
        for p in claim.parameters.values():
            counts[p] = counts.get(p, 0) + 1
    alone = _alone(calls, used - counts.keys() - slow.keys(), unmapped)
    claimed = {p for p, count in counts.items() if count >= uses[p]}
    claimed.update(p for claim in alone for p in claim.parameters.values())
    unclaimed = {p: slow.get(p, "it is read outside of the layers that a rule serves") for p in used - claimed}
    return Plan(_units([*ruled, *alone], claimed), unclaimed)


def refuse_row_mixing(calls: Iterable[Call]) -> None:
    """Refuse batch normalisation in training mode.

    Raises:
        UserError: A row's output depends on other rows, so no gradient belongs to one environment.
    """
    for call in calls:
        if isinstance(call.module, nn.modules.batchnorm._BatchNorm) and (
            call.module.training or call.module.running_mean is None
        ):
            raise UserError(
                f"layer {call.name!r} ({type(call.module).__name__} in training mode) mixes the rows of environments: "
                "call .eval() on it, use GroupNorm, or pass one environment per micro-batch"
            )


def _ruled(call: Call, used: set[Tensor]) -> Claim | None:
    rule = rule_for(call.module)
    if rule is None:
        return None
    mine = {name: p for name, p in call.module._parameters.items() if p is not None and p in used}
    return Claim(call, rule, mine) if mine else None


def _alone(calls: Collection[Call], unclaimed: set[Tensor], unmapped: Collection[nn.Module]) -> list[Claim]:
    """Let modules without a rule claim what is theirs, or their submodules'; the innermost first."""
    calls = [call for call in calls if rule_for(call.module) is None]
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
    return claims


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
