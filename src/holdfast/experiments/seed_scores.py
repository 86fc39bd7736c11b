"""Per-row scores of a run lined up, and what can be said of them with the noise of rows and seeds.

Shapes: S seeds, N rows, U units of rows. A method's number is the mean over its seeds. Where a task is folded it is the
mean over seeds of the mean over folds: no fold counts for more because it has more rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import HoldfastError
from holdfast.core.seeds import numpy_rng
from holdfast.experiments.results import CellResult, RowScores, RunResult
from holdfast.statistics import (
    Comparison,
    Interval,
    Metric,
    RowStatistic,
    compare,
    metric_named,
    no_interval,
    rate_interval,
    seed_interval,
    weighted_mean,
)

Array = NDArray[np.float64]
MAX_UNITS = 2000
"""More units than these are merged at random into so many blocks: a bootstrap of 2,000 blocks knows the width of an
interval to about 2 %, and costs the same for a million rows."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: NaN where there is none.
        low, high: Ends of the interval; None where there is none.
        level: Its confidence level.
        interval: Its kind, or why there is none.
        n_rows: Rows that it rests on.
        n_seeds: Seeds that it is a mean over.
    """

    value: float
    low: float | None
    high: float | None
    level: float
    interval: str
    n_rows: int
    n_seeds: int

    def as_interval(self) -> Interval:
        """The interval alone."""
        return Interval(self.low, self.high, self.level, self.interval)


@dataclass(frozen=True)
class Part:
    """A sub-population of a split: one environment or one group, by name."""

    column: Literal["environment", "group"]
    name: str


@dataclass(frozen=True)
class Term:
    """Scores (S, N) on some rows of one fold, and the coefficient of their finished mean in a sum over terms."""

    scores: Array
    units: NDArray[np.int64]
    weights: Array
    coefficient: float = 1.0


@dataclass(frozen=True)
class SeedScores:
    """Scores (S, U) of S seeds, a column per unit of rows, whose finished weighted mean is each seed's number.

    Attributes:
        linear: The number is the mean itself: the scores are pseudo-values.
        bounded: The number lies in the metric's range: it is no difference.
        clustered: Some unit has several rows.
    """

    scores: Array
    weights: Array
    metric: Metric
    n_rows: int
    linear: bool = False
    bounded: bool = True
    clustered: bool = False

    def of_seeds(self) -> Array:
        """Each seed's number (S,)."""
        means = np.array([float(weighted_mean(row, self.weights)) for row in self.scores])
        return means if self.linear else self.metric.finish(means)

    def estimate(self, level: float, *stream: str) -> Estimate:
        """The mean over seeds with its interval; ``stream`` names the random draws."""
        value = float(self.of_seeds().mean()) if self.scores.size else float("nan")
        return self._estimate(value, self._interval(level, *stream), difference=not self.bounded)

    def compare(self, other: SeedScores, level: float, *stream: str) -> tuple[Comparison, Estimate]:
        """This method against another one with the same seeds on the same rows, and the difference."""
        if not self.scores.size:
            missing = Comparison(float("nan"), self._interval(level), float("nan"), len(self.scores), "undecided")
            return missing, self._estimate(missing.difference, missing.interval, difference=True)
        rng = numpy_rng(0, "comparison", *stream)
        result = compare(self.scores, other.scores, self._statistic, level=level, rng=rng)
        return result, self._estimate(result.difference, result.interval, difference=True)

    def _estimate(self, value: float, interval: Interval, *, difference: bool) -> Estimate:
        """The value with its interval, cut to what is possible."""
        largest = 1.0 if self.metric.unit == "fraction" else float("inf")
        least = -largest if difference else 0.0
        low, high = (None if end is None else min(max(end, least), largest) for end in (interval.low, interval.high))
        return Estimate(value, low, high, interval.level, interval.kind, self.n_rows, len(self.scores))

    @property
    def _statistic(self) -> RowStatistic:
        statistic = RowStatistic(higher_is_better=self.metric.higher_is_better, weights=self.weights)
        if self.clustered:
            statistic = replace(statistic, units=np.arange(len(self.weights)))
        return statistic if self.linear else replace(statistic, finish=self.metric.finish)

    @property
    def _perfect(self) -> bool:
        """Whether the number is a rate, and every row of every seed right, or every one wrong."""
        rate = self.metric.interval == "rate" and self.bounded
        return rate and any((self.scores == end).all() for end in (0.0, 1.0))

    def _interval(self, level: float, *stream: str) -> Interval:
        if not self.scores.size:
            return no_interval(level, "no rows" if len(self.scores) else "no finished cell")
        rng = numpy_rng(0, "summary", *stream)
        if self._perfect and not (self.clustered and len(self.weights) < 2):
            # No resample differs, yet a perfect score on few rows is not certain.
            return rate_interval(self.scores[0] > 0, weights=self.weights, rng=rng, level=level)
        return seed_interval(self.scores, self._statistic, rng=rng, level=level)


class ScoreBook:
    """The scores of a run by method, seed, fold and split; refuses scores of different rows.

    Raises:
        HoldfastError: There are no scores, or methods or seeds were scored on different rows.
    """

    def __init__(self, run: RunResult) -> None:
        self.methods = run.methods
        self._cells = {(cell.method, cell.seed, cell.fold): cell for cell in run.cells}
        self.folds = tuple(dict.fromkeys(cell.fold for cell in run.cells))
        self.rows = _common_rows(run.cells)
        if not self.rows:
            raise HoldfastError("this run has no finished cell with scores: there is nothing to report")
        self.splits = tuple(dict.fromkeys(split for split, _ in self.rows))
        self.metric = metric_named(next(iter(self.rows.values())).metric)

    def seeds(self, method: str) -> tuple[int, ...]:
        """The seeds that have a cell in every fold."""
        seeds = sorted({seed for name, seed, _ in self._cells if name == method})
        return tuple(s for s in seeds if all((method, s, fold) in self._cells for fold in self.folds))

    def parts(self, split: str, column: Literal["environment", "group"]) -> tuple[Part, ...]:
        """The environments or groups with a row in a split, in order of their codes."""
        names = (name for (s, _), rows in self.rows.items() if s == split for name in _codes(rows, column)[1])
        return tuple(Part(column, name) for name in dict.fromkeys(names) if self.count(split, Part(column, name)))

    def count(self, split: str, part: Part | None = None) -> int:
        """How many rows a split or a part of it has, over all folds."""
        return sum(int(_inside(rows, part).sum()) for (s, _), rows in self.rows.items() if s == split)

    def scores(
        self, method: str, splits: Mapping[str, float], part: Part | None = None, seeds: Sequence[int] | None = None
    ) -> SeedScores:
        """Scores of a method whose number is Σ coefficient × (mean over folds of the metric on a split).

        Args:
            method: Its label.
            splits: Coefficient by split: ``{"test": 1}`` for the metric itself, ``{"a": 1, "b": -1}`` for a difference.
            part: Only these rows.
            seeds: Those to use; None: all that are complete.
        """
        seeds = self.seeds(method) if seeds is None else seeds
        terms = [term for split, c in splits.items() for term in self._terms(method, split, c, part, seeds)]
        return combine(terms, len(seeds), self.metric)

    def _terms(
        self, method: str, split: str, coefficient: float, part: Part | None, seeds: Sequence[int]
    ) -> list[Term]:
        folds = [fold for fold in self.folds if (split, fold) in self.rows]
        inside = {fold: _inside(self.rows[split, fold], part) for fold in folds}
        folds = [fold for fold in folds if inside[fold].any()]
        terms = []
        for fold in folds:
            rows, keep = self.rows[split, fold], inside[fold]
            weights = np.ones(len(keep)) if rows.weight is None else rows.weight
            scores = [self._cells[method, seed, fold].scores[split].values[keep] for seed in seeds]
            stacked = np.array(scores, dtype=np.float64).reshape(len(seeds), int(keep.sum()))
            terms.append(Term(stacked, _unit_ids(rows)[keep], weights[keep], coefficient / len(folds)))
        return terms


def combine(terms: Sequence[Term], n_seeds: int, metric: Metric) -> SeedScores:
    """One set of scores whose number, for each seed, is Σ over terms of coefficient × metric.

    A single term is kept as it is. Several become pseudo-values: each row's linear contribution to the sum around the
    seed's own number (the infinitesimal jackknife of L. Jaeckel, 1972), so that resampling rows of all terms together,
    whatever units they share, moves the sum as resampling within terms would.

    >>> term = Term(np.array([[1.0, 0.0, 1.0, 1.0]]), np.arange(4), np.ones(4))
    >>> other = Term(np.array([[0.0, 1.0]]), np.arange(4, 6), np.ones(2), coefficient=-1.0)
    >>> combine([term, other], 1, metric_named("accuracy")).of_seeds().tolist()
    [0.25]
    """
    if not terms:
        return SeedScores(np.empty((n_seeds, 0)), np.empty(0), metric, 0)
    linear = len(terms) > 1 or terms[0].coefficient != 1.0
    scores = _pseudo_values(terms, metric) if linear else terms[0].scores
    weights = np.concatenate([term.weights for term in terms])
    units = np.concatenate([term.units for term in terms])
    merged, merged_weights = _merge(scores, weights, units)
    clustered = len(np.unique(units)) < len(units)
    bounded = abs(sum(term.coefficient for term in terms) - 1) < 1e-9
    return SeedScores(merged, merged_weights, metric, len(units), linear, bounded, clustered)


def _pseudo_values(terms: Sequence[Term], metric: Metric) -> Array:
    """Pseudo-values (S, total N) whose weighted mean is each seed's sum."""
    total = sum(float(term.weights.sum()) for term in terms)
    contributions, numbers = [], np.zeros(len(terms[0].scores))
    for term in terms:
        means = np.array([float(weighted_mean(row, term.weights)) for row in term.scores])
        share = term.coefficient * total / float(term.weights.sum())
        slope = _slope(metric, means)
        contributions.append(share * slope[:, None] * (term.scores - means[:, None]))
        numbers += term.coefficient * metric.finish(means)
    return np.concatenate(contributions, axis=1) + numbers[:, None]


def _slope(metric: Metric, means: Array) -> Array:
    """Derivative of ``metric.finish``; zero where the mean is zero, and so every row."""
    step = 1e-4 * np.abs(means)
    rise = metric.finish(means + step) - metric.finish(means - step)
    return np.asarray(np.divide(rise, 2 * step, out=np.zeros_like(means), where=step != 0))


def _merge(scores: Array, weights: Array, units: NDArray[np.int64]) -> tuple[Array, Array]:
    """A column per unit that weighs anything, or per random block of units: (S, U) weighted means, (U,) weights."""
    kept = weights > 0
    scores, weights = scores[:, kept], weights[kept]
    _, column = np.unique(units[kept], return_inverse=True)
    n_units = int(column.max(initial=-1)) + 1
    if n_units == len(weights) <= MAX_UNITS:
        order = np.argsort(column)
        return scores[:, order], weights[order]
    if n_units > MAX_UNITS:
        column = (np.random.default_rng(0).permutation(n_units) % MAX_UNITS)[column]
    totals = np.asarray(np.bincount(column, weights), dtype=np.float64)
    sums = [np.bincount(column, weights * row, minlength=len(totals)) for row in scores]
    return np.array(sums).reshape(len(scores), len(totals)) / totals, totals


def _common_rows(cells: Sequence[CellResult]) -> dict[tuple[str, str], RowScores]:
    """The rows of each split and fold, having checked that every cell was scored on them."""
    common = {(split, cell.fold): rows for cell in cells for split, rows in cell.scores.items()}
    for cell in cells:
        for split in (split for split, fold in common if fold == cell.fold):
            rows, other = cell.scores.get(split), common[split, cell.fold]
            if rows is None or rows.metric != other.metric or not np.array_equal(rows.index, other.index):
                raise HoldfastError(
                    f"cell {cell.key} ({cell.method}, seed {cell.seed}) was not scored on the rows of {split!r} that "
                    "other cells of its task were scored on: remove its folder and run again"
                )
    return common


def _codes(rows: RowScores, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if column == "environment":
        return rows.environment, rows.environment_names
    return (np.full(len(rows.index), -1) if rows.group is None else rows.group), rows.group_names


def _inside(rows: RowScores, part: Part | None) -> NDArray[np.bool_]:
    """Which rows (N,) belong to the part."""
    if part is None:
        return np.ones(len(rows.index), dtype=bool)
    codes, names = _codes(rows, part.column)
    return np.asarray(codes == names.index(part.name) if part.name in names else np.zeros(len(codes), dtype=bool))


def _unit_ids(rows: RowScores) -> NDArray[np.int64]:
    """Unit ids (N,), the same in every fold; a row of unknown unit is one of its own."""
    return np.where(rows.units >= 0, 2 * rows.units, 2 * rows.index + 1).astype(np.int64)
