"""Fewer rows that stand for all, for evaluations that fit models of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.task import TaskData, concatenate
from holdfast.evaluations.scored import measured_splits
from holdfast.statistics.means import Array

FEWEST_ROWS = 20
"""Environments of fewer rows are left out of even samples."""

MOST_INPUTS = 150
COMPONENTS = 50


def sampled(parts: Sequence[Dataset], most: int, rng: np.random.Generator) -> Dataset:
    """Rows of known environment and positive weight, at most about so many at random.

    Each environment keeps its fair share of half of them; what is left out of it is made up for by weights.
    """
    codes = torch.cat([part.environment.codes for part in parts]).cpu().numpy()
    weight = torch.cat([torch.ones(len(part)) if part.weight is None else part.weight.cpu() for part in parts])
    weight = weight.double()
    known = np.flatnonzero((codes >= 0) & (weight.numpy() > 0))
    sizes = np.bincount(codes[known], minlength=1)
    quotas = quotas_of(sizes, most)
    shuffled = rng.permutation(known)
    taken_of_each = [shuffled[codes[shuffled] == e][: quotas[e]] for e in np.flatnonzero(sizes)]
    chosen = np.sort(np.concatenate([known[:0], *taken_of_each]))
    taken = taken_from(parts, chosen)
    if len(chosen) == len(known):
        return taken
    factor = torch.from_numpy(sizes[codes[chosen]] / quotas[codes[chosen]])
    return replace(taken, weight=weight[chosen] * factor)


def even_rows(task: TaskData, most: int, rng: np.random.Generator) -> Dataset | None:
    """At most so many test rows, evenly from all environments of at least 20; None where there is none of these."""
    parts = [split.data for split in measured_splits(task, ("test",))]
    codes = np.concatenate([part.environment.codes.numpy() for part in parts] or [np.zeros(0, dtype=int)])
    enough = [code for code in np.unique(codes) if code >= 0 and (codes == code).sum() >= FEWEST_ROWS]
    if not enough:
        return None
    share = max(most // len(enough), 1)
    kept = [rng.permutation(np.flatnonzero(codes == code))[:share] for code in enough]
    return taken_from(parts, np.sort(np.concatenate(kept)))


def sampled_test(task: TaskData, most: int, rng: np.random.Generator) -> tuple[str, Dataset] | None:
    """:func:`sampled` of the test rows, and what they are called; None where there is no test split."""
    splits = measured_splits(task, ("test",))
    if not splits:
        return None
    name = splits[0].name if len(splits) == 1 else "test rows together"
    return name, sampled([split.data for split in splits], most, rng)


def taken_from(parts: Sequence[Dataset], chosen: NDArray[np.intp]) -> Dataset:
    """The rows at ascending positions (M,) of several data sets below each other."""
    starts = np.cumsum([0, *map(len, parts)])
    within = np.split(chosen, np.searchsorted(chosen, starts[1:-1]))
    return concatenate(
        [part.take(torch.from_numpy(rows - start)) for part, rows, start in zip(parts, within, starts, strict=False)]
    )


def quotas_of(sizes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Rows (E,) to keep of each environment: a fair share of half of them, the rest in proportion.

    >>> quotas_of(np.array([9000, 100, 0, 900]), 1200).tolist()
    [808, 100, 0, 291]
    """
    if sizes.sum() <= most:
        return sizes
    floor, left = np.zeros_like(sizes), most // 2
    for done, e in enumerate(np.argsort(sizes, kind="stable")):  # what a small one does not need is for the others
        floor[e] = min(sizes[e], left // (len(sizes) - done))
        left -= floor[e]
    rest = (most - floor.sum()) / (sizes - floor).sum()
    return np.asarray(floor + np.floor((sizes - floor) * rest), dtype=np.int64)


def flat_inputs(data: Dataset, rng: np.random.Generator) -> Array:
    """(N, F) inputs, or their main components where there are many."""
    made = data.batch().x
    tensors: list[Tensor] = list(made.values()) if isinstance(made, dict) else [made]
    x = np.nan_to_num(torch.cat([t.flatten(1).cpu().double() for t in tensors], dim=1).numpy())
    if x.shape[1] <= MOST_INPUTS:
        return np.asarray(x)
    centred = x - x.mean(0)
    seen = centred @ rng.standard_normal((x.shape[1], COMPONENTS))
    axes, _ = np.linalg.qr(centred.T @ seen)
    return np.asarray(centred @ axes)
