"""Where a model fails: sub-populations in which it is wrong more often, found without naming a group."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.artifacts import Table
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Kind, TaskData
from holdfast.core.words import count
from holdfast.evaluations.described import Described, Excess, described_rows
from holdfast.evaluations.scored import Level
from holdfast.statistics import holm

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_LEVELS = 30
FEW_VALUES = 10
BEAM = 25
ALIKE = 0.6
"""Two sub-populations that share this part of their union count as one."""


@register
@dataclass(frozen=True, kw_only=True)
class Subgroups(Evaluation):
    """Sub-populations, by at most two conditions on columns, in which the model is wrong more often than elsewhere.

    The rows are halved at random, units whole. On the first half a beam search over conditions (a level of a
    column, its lowest or highest quarter, a missing value, a class) finds the sub-populations with the largest
    excess of error; the second half, which the search has not seen, tests them: one-sided, with Holm's correction
    over those tested. So what is reported is not an artefact of having looked at many. It says where the model
    fails, not why: hard rows look the same as rows that a shortcut misleads.

    The search follows S. Wrobel, *An algorithm for multi-relational discovery of subgroups*, 1997; testing on rows
    kept apart follows Y. Chung et al., *Automated data slicing for model validation*, 2019, arXiv:1807.06068.

    Attributes:
        most: So many sub-populations are tested at most.
        least_rows: Smaller ones, in either half, are not considered.
        max_rows: So many rows are used at most.
        level: One minus the chance that any of those named is no worse than the rest; also of the intervals.
    """

    most: Annotated[int, Range(low=1)] = 10
    least_rows: Annotated[int, Range(low=5)] = 20
    max_rows: Annotated[int, Range(low=100)] = 30_000
    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        rows = described_rows(predictor, task, self.max_rows, rng)
        if rows is None:
            return Result()
        search, test = rows.halves(rng)
        conditions = list(_conditions(rows, search, task.kind))
        found = _search(conditions, rows, search, self.least_rows, self.most)
        enough = [group for group in found if group.mask[test].sum() >= self.least_rows]
        tested = [_Tested(g.name, rows.excess(test[g.mask[test]], test[~g.mask[test]])) for g in enough]
        adjusted = holm([t.excess.p for t in tested]) if tested else np.zeros(0)
        kept = [t for t, p in zip(tested, adjusted, strict=True) if p < 1 - self.level]
        kept.sort(key=lambda t: -t.excess.value)
        return Result(
            tuple(t.measurement(self.level, len(tested)) for t in kept),
            (_table(kept, len(tested), task.kind, self.level),),
            tuple(Finding(t.name, t.sentence(task.kind)) for t in kept[:3]),
        )


@dataclass(frozen=True, eq=False)
class _Group:
    """A sub-population: the columns that define it, its name, and (N,) which rows are in it."""

    columns: tuple[str, ...]
    name: str
    mask: Mask

    def and_also(self, other: _Group) -> _Group:
        return _Group((*self.columns, *other.columns), f"{self.name} and {other.name}", self.mask & other.mask)


@dataclass(frozen=True)
class _Tested:
    """What the second half says of a sub-population."""

    name: str
    excess: Excess

    def measurement(self, level: float, tests: int) -> Measurement:
        from scipy.stats import norm

        excess = self.excess
        reach = float(norm.ppf(1 - (1 - level) / (2 * tests))) * excess.error
        return Measurement(
            metric="excess loss",
            value=excess.value,
            split="test",
            n=excess.n,
            low=excess.value - reach,
            high=excess.value + reach,
            interval="simultaneous normal",
            level=level,
            group=self.name,
            higher_is_better=False,
            note=f"p {excess.p:.1g}, before correction over {tests}",
        )

    def sentence(self, kind: Kind) -> str:
        inside, outside = self.excess.inside, self.excess.outside
        if kind == "classification":
            what = f"{100 * (1 - inside):.0f} % right, against {100 * (1 - outside):.0f} % elsewhere"
        else:
            what = f"a squared error of {inside:.2g} times the label's variance, {outside:.2g} elsewhere"
        return f"It fails where {self.name}: {what} ({count(self.excess.n, 'row')} that the search had not seen)."


def _conditions(rows: Described, search: NDArray[Any], kind: Kind) -> Iterator[_Group]:
    """Single conditions; cuts of numbers are learnt on the rows of the search."""
    for name in rows.columns.columns:
        yield from _of_column(str(name), rows.columns[name], search)
    if kind == "classification":
        for value in np.unique(rows.label.astype(str)):
            yield _Group(("the label",), f"the label is {value}", rows.label.astype(str) == value)
    else:
        yield from _cuts("the label", rows.label, search)


def _of_column(name: str, column: pd.Series, search: NDArray[Any]) -> Iterator[_Group]:
    import pandas as pd

    missing = column.isna().to_numpy()
    if missing.any():
        yield _Group((name,), f"{name} is missing", missing)
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if numeric and column.nunique() > FEW_VALUES:
        yield from _cuts(name, column.to_numpy(dtype=float, na_value=np.nan), search)
        return
    texts = column.astype(str).to_numpy(dtype=object)
    levels, counts = np.unique(texts[~missing], return_counts=True)
    for level in levels[np.argsort(-counts, kind="stable")][:MOST_LEVELS]:
        yield _Group((name,), f"{name} is {level}", (texts == level) & ~missing)


def _cuts(name: str, values: Array, search: NDArray[Any]) -> Iterator[_Group]:
    """The lowest and highest quarter and half of a number."""
    known = values[search][~np.isnan(values[search])]
    if not len(known):
        return
    for share in (0.25, 0.5, 0.75):
        cut = float(np.quantile(known, share))
        if share <= 0.5:
            yield _Group((name,), f"{name} ≤ {cut:.3g}", values <= cut)
        if share >= 0.5:
            yield _Group((name,), f"{name} > {cut:.3g}", values > cut)


def _search(conditions: Sequence[_Group], rows: Described, search: NDArray[Any], least: int, most: int) -> list[_Group]:
    """The best single conditions and pairs of them, none much like a better one."""
    single = _scored(conditions, rows, search, least)
    beam = [group for _, group in single[:BEAM]]
    pairs = [
        one.and_also(other)
        for one, other in itertools.combinations(beam, 2)
        if not set(one.columns) & set(other.columns)
    ]
    both = sorted(single + _scored(pairs, rows, search, least), key=lambda pair: -pair[0])
    chosen: list[_Group] = []
    for merit, group in both:
        if merit <= 0 or len(chosen) == most:
            break
        if all(_overlap(group.mask[search], other.mask[search]) < ALIKE for other in chosen):
            chosen.append(group)
    return chosen


def _scored(groups: Sequence[_Group], rows: Described, search: NDArray[Any], least: int) -> list[tuple[float, _Group]]:
    """Groups of enough rows with the standardised excess of their loss, the largest first."""
    if not groups:
        return []
    masks = np.stack([group.mask[search] for group in groups]).astype(np.float64)
    weight, loss = rows.weight[search], rows.loss[search]
    inside, total = masks @ weight, weight.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = masks @ (weight * loss) / inside
        rest = ((weight * loss).sum() - mean * inside) / (total - inside)
        merit = (mean - rest) / np.sqrt(loss.var() * (1 / inside + 1 / (total - inside)) * total / len(search))
    enough = (masks.sum(axis=1) >= least) & ((1 - masks).sum(axis=1) >= least) & np.isfinite(merit)
    scored = [(float(m), group) for m, group, ok in zip(merit, groups, enough, strict=True) if ok]
    return sorted(scored, key=lambda pair: -pair[0])


def _overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def _table(kept: Sequence[_Tested], tests: int, kind: Kind, level: float) -> Table:
    wrong = "error" if kind == "classification" else "squared error"
    return Table(
        "where the model fails",
        ("sub-population", "rows", f"{wrong} there", f"{wrong} elsewhere", "excess", "p"),
        tuple((t.name, t.excess.n, t.excess.inside, t.excess.outside, t.excess.value, t.excess.p) for t in kept),
        f"Found on half of the rows, measured on the other; of {tests} tested, those that hold together at level "
        f"{level:g}. It says where the model fails, not why.",
    )
