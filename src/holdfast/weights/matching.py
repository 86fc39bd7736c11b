"""Which unit of one network is which of another: matching by weights and by activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.core.taps import tapped
from holdfast.weights.functional import Functional
from holdfast.weights.permutations import Permutations, PermutationSpec, moved, permuted
from holdfast.weights.tree import WeightTree, check_alike

_TINY = 1e-4
_PROGRESS = 1e-12


@dataclass(frozen=True, eq=False)
class Matching:
    """Permutations that bring the units of one network to those of another.

    Attributes:
        permutations: For :func:`~holdfast.weights.permutations.permuted`.
        objective: What was made large: the inner product of weights, or the sum of correlations of units.
    """

    permutations: Permutations
    objective: float


def match_weights(
    spec: PermutationSpec,
    fixed: WeightTree,
    free: WeightTree,
    rng: torch.Generator,
    *,
    sweeps: int = 100,
    restarts: int = 1,
) -> Matching:
    """Permute the units of ``free`` so that its weights point the way those of ``fixed`` do.

    One set of units after the other is assigned optimally while the others stand, in random order, until a sweep
    changes nothing. That is a local optimum; the first start is from the identity, further ones from random
    permutations, and the best is returned.

    S. K. Ainsworth, J. Hayase, S. Srinivasa, *Git Re-Basin: merging models modulo permutation symmetries*, ICLR 2023,
    arXiv:2209.04836.

    Args:
        spec: The axes of units.
        fixed: The weights that stay.
        free: The weights to be permuted.
        rng: Orders the sets, and draws further starts.
        sweeps: At most so many over all sets.
        restarts: How many starts.

    Raises:
        UserError: The weights are of different architectures.
    """
    check_alike([fixed, free])
    starts = [spec.identity(free), *(spec.random(free, rng) for _ in range(restarts - 1))]
    found = [_ascended(spec, fixed, free, start, rng, sweeps) for start in starts]
    return max(found, key=lambda matching: matching.objective)


def match_activations(
    spec: PermutationSpec, module: nn.Module, fixed: WeightTree, free: WeightTree, inputs: Iterable[Any]
) -> Matching:
    """Permute the units of ``free`` so that they do on some inputs what those of ``fixed`` do: by correlation.

    Y. Li, J. Yosinski, J. Clune, H. Lipson, J. Hopcroft, *Convergent learning: do different neural networks learn the
    same representations?*, 2015, arXiv:1511.07543.

    Args:
        spec: The axes of units, with a layer for each set.
        module: The architecture.
        fixed: The weights that stay.
        free: The weights to be permuted.
        inputs: Batches (B, …); positions of pictures count as rows.

    Raises:
        UserError: The weights are of different architectures, or a set has no layer.
    """
    check_alike([fixed, free])
    sets = spec.sizes(free)
    without = [units for units in sets if units not in spec.taps]
    if without:
        raise UserError(f"the units {without[0]!r} have no layer to look at: name one in the spec's taps")
    correlations = _correlations(spec, module, fixed, free, inputs)
    permutations = {units: _assigned(correlations[units], spec.bundles.get(units, 1)) for units in sets}
    total = sum(float(correlations[u][torch.arange(len(p)), p].sum()) for u, p in permutations.items())
    return Matching(permutations, total)


def aligned(spec: PermutationSpec, matching: Matching, free: WeightTree) -> WeightTree:
    """The weights that were free, with their units where the others' are."""
    return permuted(spec, matching.permutations, free)


def _ascended(
    spec: PermutationSpec,
    fixed: WeightTree,
    free: WeightTree,
    start: dict[str, Tensor],
    rng: torch.Generator,
    sweeps: int,
) -> Matching:
    permutations, sets = dict(start), list(start)
    uses = {units: _uses(spec, units, fixed) for units in sets}
    for _ in range(sweeps):
        progress = False
        for k in torch.randperm(len(sets), generator=rng).tolist():
            units = sets[k]
            gain = _gains(uses[units], spec, fixed, free, permutations)
            better, before = _assigned(gain, spec.bundles.get(units, 1)), permutations[units]
            rows = torch.arange(len(before))
            if gain[rows, better].sum() > gain[rows, before].sum() + _PROGRESS:
                permutations[units], progress = better, True
        if not progress:
            break
    at_last = permuted(spec, permutations, free).parameters
    objective = sum(float((fixed.parameters[n].double() * at_last[n].double()).sum()) for n in fixed.parameters)
    return Matching(permutations, objective)


def _uses(spec: PermutationSpec, units: str, tree: WeightTree) -> list[tuple[str, int, int]]:
    """Parameters with an axis of these units: name, place of the axis, entries for each unit."""
    return [
        (name, place, axis.each)
        for name, axes in spec.axes.items()
        if name in tree.parameters
        for place, axis in enumerate(axes)
        if axis is not None and axis.units == units
    ]


def _gains(
    uses: Sequence[tuple[str, int, int]],
    spec: PermutationSpec,
    fixed: WeightTree,
    free: WeightTree,
    permutations: Mapping[str, Tensor],
) -> Tensor:
    """(n, n) inner product of the weights of unit i of the fixed network with those of unit j of the free one."""
    total = torch.zeros(())
    for name, place, each in uses:
        one = _by_unit(fixed.parameters[name], place, each)
        other = _by_unit(moved(free.parameters[name], spec.axes[name], permutations, but=place), place, each)
        total = total + one.double() @ other.double().T
    return total


def _by_unit(tensor: Tensor, place: int, each: int) -> Tensor:
    """(n, …) flat weights of each unit."""
    first = tensor.movedim(place, 0)
    return first.reshape(len(first) // each, -1)


def _assigned(gain: Tensor, bundles: int) -> Tensor:
    """(n,) the column for each row that makes the sum of gains largest, bundles staying together."""
    if bundles == 1:
        return _assignment(gain)
    each = len(gain) // bundles
    blocks = gain.reshape(bundles, each, bundles, each).movedim(2, 1)
    within = [[_assignment(block) for block in row] for row in blocks]
    rows = torch.arange(each)
    totals = torch.stack(
        [
            torch.stack([block[rows, w].sum() for block, w in zip(*pair, strict=True)])
            for pair in zip(blocks, within, strict=True)
        ]
    )
    chosen = _assignment(totals).tolist()
    return torch.cat([column * each + within[row][column] for row, column in enumerate(chosen)])


def _assignment(gain: Tensor) -> Tensor:
    """(n,) the column for each row that makes the sum of gains largest."""
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(gain.cpu().numpy(), maximize=True)
    return torch.from_numpy(np.asarray(columns, dtype=np.int64))


def _correlations(
    spec: PermutationSpec, module: nn.Module, fixed: WeightTree, free: WeightTree, inputs: Iterable[Any]
) -> dict[str, Tensor]:
    """For each set, (n, n) correlations of the units of the fixed network with those of the free one."""
    network, layers, sets = Functional.of(module), list(spec.taps.values()), spec.sizes(free)
    sums: dict[str, list[Tensor]] = {}
    for x in inputs:
        seen = []
        for tree in (fixed, free):
            with torch.no_grad(), tapped(network.module, layers) as outputs:
                network.outputs(tree, x)
            seen.append({u: _rows(outputs[layer], sets[u]) for u, layer in spec.taps.items() if u in sets})
        for units in sets:
            a, b = seen[0][units], seen[1][units]
            count = torch.tensor(float(len(a)))
            parts = [count, a.sum(0), b.sum(0), a.square().sum(0), b.square().sum(0), a.T @ b]
            sums[units] = (
                [one + other for one, other in zip(sums.get(units, parts), parts, strict=True)]
                if (units in sums)
                else parts
            )
    return {units: _correlation(*parts) for units, parts in sums.items()}


def _rows(activations: Tensor, units: int) -> Tensor:
    """(N, n) activations in double precision; positions are rows, also of a picture that was flattened."""
    by_unit = activations.double().reshape(len(activations), units, -1)
    return by_unit.movedim(1, 2).reshape(-1, units)


def _correlation(count: Tensor, a: Tensor, b: Tensor, aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    mean_a, mean_b = a / count, b / count
    std_a, std_b = ((s / count - m.square()).clamp_min(0).sqrt() for s, m in ((aa, mean_a), (bb, mean_b)))
    return (ab / count - mean_a[:, None] * mean_b) / (std_a[:, None] * std_b + _TINY)
