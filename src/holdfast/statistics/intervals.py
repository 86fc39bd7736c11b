"""Intervals for one number measured on N rows, and for the worst of G groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from holdfast.core.errors import UserError
from holdfast.statistics.means import Array, row_weights, weighted_mean
from holdfast.statistics.metrics import Metric
from holdfast.statistics.resampling import multiplicities, unit_index

REPLICATES = 2000
REPLICATES_PER_TAIL = 5
UNDEFINED_AT_MOST = 0.1


@dataclass(frozen=True)
class Interval:
    """A confidence interval, its level, and the construction that gave it; None is no bound on that side.

    >>> Interval(0.2, None, 0.95, "clopper-pearson").contains(0.1)
    False
    """

    low: float | None
    high: float | None
    level: float
    kind: str

    def contains(self, value: float) -> bool:
        """Whether no bound excludes the value."""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)


def no_interval(level: float, reason: str) -> Interval:
    """The interval that excludes nothing, with the reason in its kind.

    >>> no_interval(0.95, "one row").kind
    'none (one row)'
    """
    return Interval(None, None, level, f"none ({reason})")


def check_level(level: float) -> float:
    """1 − level; raises UserError unless the level lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise UserError(f"the level of an interval must lie between 0 and 1, got {level}: try 0.95")
    return 1 - level


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Exact interval for a rate of independent successes: covers at ``level`` or more, whatever the rate.

    C. Clopper, E. Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, 1934.
    ``n`` may be an effective number of trials and need not be whole.

    >>> interval = clopper_pearson(10, 10)
    >>> round(interval.low, 4), interval.high
    (0.6915, 1.0)

    Raises:
        UserError: n is not positive, successes lie outside 0..n, or the level outside (0, 1).
    """
    from scipy.special import betaincinv

    alpha = _check_rate(successes, n, level)
    low = float(betaincinv(successes, n - successes + 1, alpha / 2)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - alpha / 2)) if successes < n else 1.0
    return Interval(low, high, level, "clopper-pearson")


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Score interval for a rate: shorter than Clopper–Pearson, at ``level`` on average over rates.

    E. Wilson, *Probable inference, the law of succession, and statistical inference*, 1927.

    >>> interval = wilson(5, 10)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2366, 0.7634)

    Raises:
        UserError: As :func:`clopper_pearson`.
    """
    from scipy.special import ndtri

    z2 = float(ndtri(_check_rate(successes, n, level) / 2)) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * rate * (1 - rate) / n + (z2 / (2 * n)) ** 2) ** 0.5 / (1 + z2 / n)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), level, "wilson")


def _check_rate(successes: float, n: float, level: float) -> float:
    if not (n > 0 and 0 <= successes <= n):
        raise UserError(f"a rate needs 0 <= successes <= n and n > 0; got {successes} of {n}")
    return check_level(level)


def mean_t(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval for the mean of n independent values (n,), e.g. one per seed.

    There is none under two values, nor where all are equal: a method without randomness gives each seed the same
    number, and that does not make it certain.

    >>> interval = mean_t([1.0, 2.0, 3.0])
    >>> round(interval.low, 3), round(interval.high, 3)
    (-0.484, 4.484)
    """
    from scipy.special import stdtrit

    alpha = check_level(level)
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return no_interval(level, "fewer than 2 values" if n < 2 else "a value is not finite")
    if np.isclose(values.min(), values.max(), rtol=1e-12, atol=0):
        return no_interval(level, "all values are equal")
    half = float(stdtrit(n - 1, 1 - alpha / 2) * values.std(ddof=1) / n**0.5)
    mean = float(values.mean())
    return Interval(mean - half, mean + half, level, "student-t")


def bootstrap(
    statistic: Callable[[Array], Array],
    n_rows: int,
    *,
    rng: np.random.Generator,
    units: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> Interval:
    """Bootstrap interval of any statistic of weighted rows, resampling whole units.

    The expanded percentile interval of T. Hesterberg, *What teachers should know about the bootstrap*, 2014,
    arXiv:1411.5279: percentiles, so that it never leaves the statistic's range and follows monotone transformations
    (the interval of an RMSE is the root of that of the MSE), taken further out so that for a mean of U units it matches
    Student's t rather than the too narrow normal. BCa would need U more evaluations and does not mend small U.

    Args:
        statistic: Weights (r, N) to values (r,); NaN where undefined.
        n_rows: N.
        rng: Source of the draws.
        units: Unit id (N,) of each row; rows of a unit are drawn together. None: each row is a unit.
        weights: Row weights (N,), multiplied into the number of times a row was drawn.
        level: Of the two-sided interval.
        replicates: Resamples; more are drawn where the level asks for percentiles that these cannot show.

    Returns:
        The interval, or none where there is one unit, where more than a tenth of the resamples are undefined, or where
        all agree (a perfect score on few rows is not certain). Fewer undefined resamples are left out.

    >>> values = np.random.default_rng(0).normal(size=200)
    >>> interval = bootstrap(lambda w: weighted_mean(values, w), 200, rng=np.random.default_rng(1))
    >>> interval.contains(0.0), interval.kind
    (True, 'bootstrap')
    """
    from scipy.special import ndtr, stdtrit

    alpha = check_level(level)
    kind, index = "bootstrap" if units is None else "cluster bootstrap", unit_index(n_rows, units)
    base = row_weights(n_rows, weights)
    n_units = len(np.unique(index[base > 0]))
    if n_units < 2:
        return no_interval(level, f"{kind} of {n_units} unit{'s' * (n_units != 1)}")
    replicates = max(replicates, int(np.ceil(2 * REPLICATES_PER_TAIL / alpha)))
    values = np.concatenate([statistic(times * base) for times in multiplicities(index, replicates, rng)])
    defined = values[~np.isnan(values)]
    if len(defined) < (1 - UNDEFINED_AT_MOST) * replicates:
        return no_interval(level, f"{kind}: undefined on too many resamples")
    if np.isclose(defined.min(), defined.max(), rtol=1e-12, atol=0):
        return no_interval(level, f"{kind}: every resample gives the same value")
    tail = float(ndtr(-((n_units / (n_units - 1)) ** 0.5) * stdtrit(n_units - 1, 1 - alpha / 2)))
    # Order statistics, not interpolations: an infinite log loss stays a bound, and rounding is outwards.
    low, high = np.quantile(defined, tail, method="lower"), np.quantile(defined, 1 - tail, method="higher")
    return Interval(float(low), float(high), level, kind)


def rate_interval(
    correct: ArrayLike,
    *,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    units: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> Interval:
    """Interval of the (weighted) fraction of rows that are correct, of the kind that the rows allow.

    Rows that are independent and weigh the same are binomial: Clopper–Pearson. Otherwise the cluster bootstrap; and
    where all rows agree, so that every resample does, Clopper–Pearson over the effective number of units. One unit of
    several rows says nothing of other units: there is no interval.

    Args:
        correct: Booleans (N,).
        rng: Source of the draws, unused by the exact kinds.
        weights: Row weights (N,); rows of weight zero are left out.
        units: Unit id (N,) of each row.
        level: Of the two-sided interval.
        replicates: Resamples, where the bootstrap is taken.

    >>> rng, correct = np.random.default_rng(0), np.array([True] * 8 + [False] * 2)
    >>> rate_interval(correct, rng=rng).kind
    'clopper-pearson'
    >>> rate_interval(correct, rng=rng, units=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]).kind
    'cluster bootstrap'
    >>> rate_interval([True] * 4, rng=rng, units=[0, 0, 1, 1]).kind
    'clopper-pearson over units'
    """
    hit = np.asarray(correct, dtype=bool)
    base = row_weights(len(hit), weights)
    index = unit_index(len(hit), units)[base > 0]
    hit, base = hit[base > 0], base[base > 0]
    if not len(hit):
        return no_interval(level, "no rows")
    n_units = len(np.unique(index))
    if n_units == len(hit) and (base == base[0]).all():
        return clopper_pearson(int(hit.sum()), len(hit), level)
    if n_units > 1 and (hit == hit[0]).all():
        unit_weight = np.bincount(index, base)
        effective = float(unit_weight.sum() ** 2 / (unit_weight**2).sum())
        exact = clopper_pearson(effective * float(hit[0]), effective, level)
        return Interval(exact.low, exact.high, level, f"{exact.kind} over units")
    return bootstrap(
        lambda w: weighted_mean(hit.astype(np.float64), w),
        len(hit),
        rng=rng,
        units=None if units is None else index,
        weights=base,
        level=level,
        replicates=replicates,
    )


def metric_interval(
    metric: Metric,
    y: ArrayLike,
    scores: ArrayLike,
    *,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    units: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> Interval:
    """Interval of a metric on N rows, of the kind that the metric declares; none where the metric is undefined.

    >>> from holdfast.statistics.metrics import METRICS
    >>> metric_interval(METRICS["rmse"], [1.0, 2.0, 4.0], [1.0, 1.0, 1.0], rng=np.random.default_rng(0)).kind
    'bootstrap'

    Raises:
        UserError: As :class:`~holdfast.statistics.metrics.Metric` does on the same rows.
    """
    reason = metric.undefined(y, scores, weights)
    if reason is not None or metric.interval == "none":
        return no_interval(level, reason or f"no interval is known for {metric.name}")
    labels, predicted, base = metric.checked(y, scores, weights)
    present = base > 0
    labels, predicted, base = labels[present], predicted[present], base[present]
    units = None if units is None else unit_index(len(present), units)[present]
    if metric.interval == "rate":
        assert metric.per_row is not None
        correct = metric.per_row(labels, predicted)
        return rate_interval(correct, rng=rng, weights=base, units=units, level=level, replicates=replicates)
    return bootstrap(
        lambda w: metric.compute(labels, predicted, w),
        len(labels),
        rng=rng,
        units=units,
        weights=base,
        level=level,
        replicates=replicates,
    )


def worst_of(intervals: Sequence[Interval], level: float, *, higher_is_better: bool = True) -> Interval:
    """Interval of the worst of G values, from G intervals that hold simultaneously at ``level``.

    Each interval is of level 1 − (1 − level)/G (Bonferroni). Where all hold, the least value lies in [min L, min U];
    where lower is better, the greatest lies in [max L, max U]. A missing bound is missing from the result only where it
    could have been the one.

    >>> worst_of([Interval(0.5, 0.7, 0.975, "wilson"), Interval(None, 0.6, 0.975, "wilson")], 0.95)
    Interval(low=None, high=0.6, level=0.95, kind='simultaneous wilson over 2 groups')
    """
    if not intervals:
        raise UserError("no group has a row with a value: there is no worst group")
    worst = min if higher_is_better else max
    lows, highs = [i.low for i in intervals], [i.high for i in intervals]
    known_lows, known_highs = [v for v in lows if v is not None], [v for v in highs if v is not None]
    # The least value is below each U that is known, but above min L only if all L are known; mirrored for the greatest.
    low = worst(known_lows) if known_lows and (not higher_is_better or None not in lows) else None
    high = worst(known_highs) if known_highs and (higher_is_better or None not in highs) else None
    kinds = " / ".join(sorted({i.kind for i in intervals}))
    return Interval(low, high, level, f"simultaneous {kinds} over {len(intervals)} groups")


def simultaneous_worst(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the lowest of G rates, each of independent rows: Clopper–Pearson at level 1 − α/G, [min L, min U].

    Args:
        successes: (G,) counts.
        n: (G,) trials; groups with none are left out, of G too.
        level: That all groups hold together, so that picking the worst after looking costs nothing more.

    >>> interval = simultaneous_worst([90, 5, 0], [100, 10, 0])
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.159, 0.841)

    Raises:
        UserError: Every group is empty.
    """
    hits, trials = np.asarray(successes), np.asarray(n)
    present = np.flatnonzero(trials > 0)
    each = simultaneous_level(level, len(present))
    return worst_of([clopper_pearson(int(hits[g]), int(trials[g]), each) for g in present], level)


def simultaneous_level(level: float, n_groups: int) -> float:
    """Level at which each of G intervals must hold for all to hold at ``level``: 1 − α/G.

    >>> simultaneous_level(0.95, 5)
    0.99
    """
    return 1 - check_level(level) / max(n_groups, 1)
