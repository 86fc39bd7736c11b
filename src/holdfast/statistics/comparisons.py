"""Is method A better than method B? Paired over seeds and rows, with the noise of both.

Shapes: S seeds, N test rows (the same rows in the same order for every seed and both methods), G groups, R replicates.

One scheme serves one method and the difference of two. Per seed, a statistic of the rows (``finish`` of their mean, or
the worst such value over groups); over seeds, the mean. Two things could have come out otherwise: the rows, which all
seeds share, so that averaging seeds does not average them away, and the seeds. So each replicate resamples units of
rows **once for all seeds and methods**, and Student noise of the seeds, t(S−1)·sd/√S, is drawn around its mean; the
draws are pooled and their percentiles taken. A paired t over the seeds alone would ignore the rows, a bootstrap of the
rows alone the seeds. ``sd`` is that of the seeds on the actual rows: it already holds each seed's own row noise, which
the resampling shows once more, so that coverage is at or above the level; taking sd anew on each replicate would count
that noise a third time.

The worst of noisy groups looks worse than the worst group is, and the worst of resampled groups worse again. That bias,
resampled minus actual, is estimated and removed from the draws; where many groups tie for the worst some remains (eight
equal groups of 50 rows: 95 % intervals of the worst cover 80–95 %, and without the correction almost never).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.core.errors import UserError
from holdfast.statistics.groups import check_groups
from holdfast.statistics.intervals import Interval, check_level, no_interval
from holdfast.statistics.means import Array, identity, row_weights
from holdfast.statistics.resampling import multiplicities, unit_index

REPLICATES = 1000
DRAWS_PER_REPLICATE = 20
MIN_SEEDS = 5

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """Method A against method B.

    Attributes:
        difference: Mean over seeds of A − B, in the units of the statistic.
        interval: Of the difference.
        p_value: Two-sided, that the difference is zero; NaN where there is no interval.
        n_seeds: S.
        verdict: About A. ``better`` or ``worse`` need five seeds, an interval without zero on the side of the
            difference, and p < 1 − level.
        adjusted_p: Holm's p-value within a table, once :func:`holm_verdicts` has seen the table.
    """

    difference: float
    interval: Interval
    p_value: float
    n_seeds: int
    verdict: Verdict
    adjusted_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class RowStatistic:
    """What is computed of the rows' scores of one seed, and how the rows belong together.

    Attributes:
        higher_is_better: Direction of the statistic; says which group is the worst.
        finish: Monotone increasing function of a mean over rows, elementwise: ``np.sqrt`` for RMSE.
        units: Unit id (N,) of each row, −1 unknown; None: each row is a unit.
        groups: Group id (N,), −1 unknown and left out: the statistic is the worst over groups. None: all rows.
        weights: Row weights (N,).
    """

    higher_is_better: bool = True
    finish: Callable[[Array], Array] = identity
    units: ArrayLike | None = None
    groups: ArrayLike | None = None
    weights: ArrayLike | None = None


def compare(
    a: ArrayLike,
    b: ArrayLike,
    statistic: RowStatistic,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> Comparison:
    """Compare two methods by their scores on the same rows under the same seeds.

    Args:
        a: Scores (S, N) of method A, a row of the array per seed: correct or not, squared error, ...
        b: Scores (S, N) of method B.
        statistic: What to make of a seed's rows, and its direction.
        rng: Source of the draws.
        level: Of the two-sided interval, and one minus the level of the test.
        replicates: R.

    >>> rng = np.random.default_rng(0)
    >>> b = rng.random((5, 400)) < 0.7
    >>> a = b | (rng.random((5, 400)) < 0.5)
    >>> result = compare(a, b, RowStatistic(), rng=rng)
    >>> round(result.difference, 3), result.verdict
    (0.158, 'better')
    >>> compare(a[:4], b[:4], RowStatistic(), rng=rng).verdict
    'undecided'

    Raises:
        UserError: Shapes disagree, or ids or weights are wrong.
    """
    scores_a, scores_b = _seeds_by_rows(a), _seeds_by_rows(b)
    if scores_a.shape != scores_b.shape:
        raise UserError(f"a comparison needs the same seeds and rows of both: got {scores_a.shape}, {scores_b.shape}")
    alpha, n_seeds = check_level(level), len(scores_a)
    sample = _resample(np.concatenate([scores_a, scores_b]), statistic, replicates, rng)
    if isinstance(sample, str):
        return Comparison(float("nan"), no_interval(level, sample), float("nan"), n_seeds, "undecided")
    paired = replace(
        sample,
        observed=sample.observed[:n_seeds] - sample.observed[n_seeds:],
        replicated=sample.replicated[:, :n_seeds] - sample.replicated[:, n_seeds:],
    )
    draws = _draws(paired, rng)
    difference, interval = float(paired.observed.mean()), _percentiles(draws, paired, level)
    p_value = float("nan") if interval.low is None else _p_value(draws, paired.n_units)
    clear = not interval.contains(0.0) and p_value < alpha and np.median(draws) * difference > 0
    verdict: Verdict = "undecided"
    if clear and n_seeds >= MIN_SEEDS:
        verdict = "better" if (difference > 0) == statistic.higher_is_better else "worse"
    return Comparison(difference, interval, p_value, n_seeds, verdict)


def seed_interval(
    scores: ArrayLike,
    statistic: RowStatistic,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> Interval:
    """Interval of one method's mean over seeds, for new seeds and new rows; with one seed, for new rows only.

    Args:
        scores: Scores (S, N), a row of the array per seed.
        statistic: What to make of a seed's rows.
        rng: Source of the draws.
        level: Of the two-sided interval.
        replicates: R.

    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random((3, 200)) < 0.7
    >>> seed_interval(scores, RowStatistic(), rng=rng).kind
    'student-t with nested bootstrap'
    >>> seed_interval(scores[:1], RowStatistic(), rng=rng).kind
    'bootstrap of one seed'

    Raises:
        UserError: Shapes disagree, or ids or weights are wrong.
    """
    check_level(level)
    sample = _resample(_seeds_by_rows(scores), statistic, replicates, rng)
    return no_interval(level, sample) if isinstance(sample, str) else _percentiles(_draws(sample, rng), sample, level)


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p-values (m,) of m tests, any of which rejected below α keeps the chance of one false rejection below α.

    S. Holm, *A simple sequentially rejective multiple test procedure*, 1979. NaN is a test not made: it stays NaN and
    does not count.

    >>> holm([0.01, 0.04, 0.03, float("nan")]).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]  # NaN sorts last
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted


def holm_verdicts(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons of one table, with Holm's p-values; a verdict that these do not carry becomes ``undecided``.

    >>> won = Comparison(0.1, Interval(0.01, 0.2, 0.95, "paired"), 0.03, 5, "better")
    >>> [c.verdict for c in holm_verdicts([won])], [c.verdict for c in holm_verdicts([won, won])]
    (['better'], ['undecided', 'undecided'])
    """
    adjusted = [float(p) for p in holm([c.p_value for c in comparisons])]
    return tuple(
        replace(c, adjusted_p=p, verdict=c.verdict if p < 1 - c.interval.level else "undecided")
        for c, p in zip(comparisons, adjusted, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """The statistic of each seed, on the actual rows and on resampled ones.

    Attributes:
        observed: (S,).
        replicated: (R, S).
        n_units: Units of rows in the smallest group.
        rounding: What differences up to this size are.
        kind: Of the bootstrap.
    """

    observed: Array
    replicated: Array
    n_units: int
    rounding: float
    kind: str


def _seeds_by_rows(scores: ArrayLike) -> Array:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise UserError(f"scores must be (S seeds, N rows), neither of them zero; got shape {array.shape}")
    return array


def _resample(scores: Array, statistic: RowStatistic, replicates: int, rng: np.random.Generator) -> _Sample | str:
    """The statistic of each row of scores (M, N), or why there is nothing to resample."""
    n_rows = scores.shape[1]
    weights, units = row_weights(n_rows, statistic.weights), unit_index(n_rows, statistic.units)
    groups = np.zeros(n_rows, dtype=np.intp)
    if statistic.groups is not None:
        groups = check_groups(statistic.groups, n_rows, int(np.max(statistic.groups, initial=-1)) + 1)
    kept = (weights > 0) & (groups >= 0)
    if not np.isfinite(scores[:, kept]).all():
        return "a score is not finite"
    scores, weights, groups, units = scores[:, kept], weights[kept], groups[kept], unit_index(kept.sum(), units[kept])
    n_units = min((len(np.unique(units[groups == g])) for g in np.unique(groups)), default=0)
    if n_units < 2:
        return f"{n_units} unit{'s' * (n_units != 1)} of rows"

    def values(times: Array) -> Array:
        return _worst_means(scores, times * weights, groups, statistic)

    replicated = np.concatenate([values(times) for times in multiplicities(units, replicates, rng)])
    observed = values(np.ones((1, len(weights))))[0]
    return _Sample(
        observed=observed,
        replicated=replicated,
        n_units=n_units,
        rounding=1e-12 * float(np.abs(observed).max()),
        kind="bootstrap" if statistic.units is None else "cluster bootstrap",
    )


def _worst_means(scores: Array, weights: Array, groups: NDArray[np.intp], statistic: RowStatistic) -> Array:
    """Finished means of scores (M, N) under weights (R, N), at worst over groups that were drawn: (R, M)."""
    present = np.unique(groups)
    by_group = []
    for g in present:
        rows = slice(None) if len(present) == 1 else groups == g
        with np.errstate(invalid="ignore"):
            means = (weights[:, rows] @ scores[:, rows].T) / weights[:, rows].sum(1, keepdims=True)
        by_group.append(statistic.finish(means))
    worst = np.fmin if statistic.higher_is_better else np.fmax
    return np.asarray(worst.reduce(by_group), dtype=np.float64)


def _draws(sample: _Sample, rng: np.random.Generator) -> Array:
    """Pooled draws of the mean over seeds, less its bias: resampled rows, plus Student noise of the seeds.

    The rows' deviations are stretched by √(U/χ²(U−1)), which turns the bootstrap's normal tails into Student's; it
    matters for few units only.
    """
    n_seeds, shape = len(sample.observed), (len(sample.replicated), DRAWS_PER_REPLICATE)
    means = sample.replicated.mean(1)
    unbiased = 2 * sample.observed.mean() - means.mean()
    stretch = np.sqrt(sample.n_units / rng.chisquare(sample.n_units - 1, shape))
    draws = unbiased + (means - means.mean())[:, None] * stretch
    if n_seeds > 1:
        draws += rng.standard_t(n_seeds - 1, shape) * sample.observed.std(ddof=1) / n_seeds**0.5
    return np.asarray(draws.ravel())


def _percentiles(draws: Array, sample: _Sample, level: float) -> Interval:
    if np.ptp(draws) <= sample.rounding:
        return no_interval(level, "every resample gives the same value")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    kind = f"{sample.kind} of one seed" if len(sample.observed) == 1 else f"student-t with nested {sample.kind}"
    return Interval(float(low), float(high), level, kind)


def _p_value(draws: Array, n_units: int) -> float:
    """Two-sided share of draws across zero; never below that of a sign test on the units, all of one sign."""
    across = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, max(2 * (across + 1) / (len(draws) + 1), 2.0 ** (1 - n_units))))
