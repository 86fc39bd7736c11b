"""Statistics of the parameters that a few calls share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.grouping import Chunk, Grouping
from holdfast.gradients.rules import LayerGradient, Rule, Workspace


@dataclass(frozen=True, eq=False)
class Member:
    """A call's gradient, its rule, and its parameters by their name in the layer."""

    gradient: LayerGradient
    rule: Rule
    parameters: Mapping[str, Tensor]


def collect_unit(
    members: Sequence[Member],
    grouping: Grouping,
    sums: Mapping[Tensor, Accumulator],
    workspace: Workspace,
    chunk_bytes: int,
) -> None:
    """Fill the sums of the members' parameters.

    The gradient of an environment is summed over the members before anything else is.

    Args:
        members: Calls that share parameters.
        grouping: The environments.
        sums: By parameter.
        workspace: Buffers.
        chunk_bytes: Bound on what is held of single environments at once; one environment always fits.
    """
    if len(members) == 1:
        (member,) = members
        named = {name: sums[parameter] for name, parameter in member.parameters.items()}
        sums_only = all(one.sums_only for one in named.values())
        if sums_only and member.rule.shortcut(member.gradient, grouping, named):
            return
    environment_bytes = max(member.rule.environment_bytes(member.gradient, grouping.sizes[0]) for member in members)
    for chunk in grouping.chunks(max(1, chunk_bytes // max(1, environment_bytes))):
        for parameter, block in _blocks(members, chunk, workspace).items():
            sums[parameter].add(block)


def _blocks(members: Sequence[Member], chunk: Chunk, workspace: Workspace) -> dict[Tensor, Tensor]:
    blocks: dict[Tensor, Tensor] = {}
    for member in members:
        for name, block in member.rule.blocks(member.gradient, chunk, workspace).items():
            parameter = member.parameters[name]
            if parameter in blocks:
                blocks[parameter] += block
            else:
                blocks[parameter] = block if len(members) == 1 else block.clone()
    return blocks
