"""Statistics of the parameters that a few calls share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.grouping import Chunk
from holdfast.gradients.request import Request
from holdfast.gradients.rules import LayerGradient, Rule, Workspace
from holdfast.gradients.statistics import Stats


@dataclass(frozen=True, eq=False)
class Member:
    """A call's gradient, its rule, and its parameters by their name in the layer."""

    gradient: LayerGradient
    rule: Rule
    parameters: Mapping[str, Tensor]


def unit_statistics(
    members: Sequence[Member], request: Request, workspace: Workspace, chunk_bytes: int
) -> dict[Tensor, Stats]:
    """Statistics by parameter; the gradient of an environment is summed over the members before anything else is.

    Args:
        members: Calls that share parameters.
        request: The environments and the statistics asked for.
        workspace: Buffers.
        chunk_bytes: Bound on what is held of single environments at once; one environment always fits.
    """
    if len(members) == 1:
        (member,) = members
        stats = member.rule.shortcut(member.gradient, request.grouping, request.needs)
        if stats is not None:
            return {parameter: stats[name] for name, parameter in member.parameters.items()}
    sums = {p: Accumulator(request.needs) for member in members for p in member.parameters.values()}
    environment_bytes = max(_environment_bytes(member, request.grouping.sizes[0]) for member in members)
    for chunk in request.grouping.chunks(max(1, chunk_bytes // environment_bytes)):
        for parameter, block in _blocks(members, chunk, workspace).items():
            sums[parameter].add(block)
    return {parameter: accumulator.stats() for parameter, accumulator in sums.items()}


def _environment_bytes(member: Member, rows: int) -> int:
    parameters = sum(p.numel() * p.element_size() for p in member.parameters.values())
    return max(parameters, rows * member.gradient.row_bytes)


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
