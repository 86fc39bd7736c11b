"""Does a label, an input, or the one given the other differ between an environment and the others? Four tests.

Shapes: N rows, F inputs, K outputs. ``member`` (N,) says which rows are of the environment. Every test is a slope or an
area with errors that respect units and weights (:mod:`holdfast.statistics.association`); where an environment has
fewer than :data:`LEAST_INFORMATIVE` informative units there is none, since its errors could not be believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.statistics.association import Effects, area_between, slopes
from holdfast.statistics.cross_fitting import ridge
from holdfast.statistics.means import Array

LEAST_INFORMATIVE = 20
LEAST_OVERLAP = 0.2
LARGEST_LOGIT = 6.0
PATTERN_PENALTY = 0.1

LEARNT_FROM_EACH_OTHER = 2**0.5
"""By how much errors grow where folds test what they learnt from each other: without a difference, what k learns from l
and l from k is the same chance agreement of the two, Σ Δk·Δl, counted twice, so that its variance is twice the sum."""

Members = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """What all tests start from.

    Attributes:
        outputs: (N, K) what is compared of the labels: an indicator for each class, or the target.
        names: (K,) of them.
        weight: (N,) positive row weights.
        unit: (N,) unit ids, or None where every row is its own.
        fold: (N,) codes: what is learnt for a row's test is learnt on the other folds.
        level: Of the intervals.
    """

    outputs: Array
    names: tuple[str, ...]
    weight: Array
    unit: NDArray[np.int64] | None
    fold: NDArray[np.intp]
    level: float


@dataclass(frozen=True)
class Finding:
    """One test.

    Attributes:
        value: The effect; NaN where the test could not be made.
        low, high: Its interval, which holds for all outputs together where the largest of several is shown.
        p_value: Before any correction for other tests; NaN where the test could not be made.
        about: Which output the effect is about; empty where there is one only.
        note: Why there is no test.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p_value: float = float("nan")
    about: str = ""
    note: str = ""


def label_shift(sample: Sample, member: Members) -> Finding:
    """Null: the label's distribution is that of the other environments. The effect is a difference of means."""
    centred = sample.outputs - np.average(sample.outputs, axis=0, weights=sample.weight)
    direction = member - np.average(member, weights=sample.weight)
    return largest(slopes(centred, direction, sample.weight, sample.unit), sample.names, sample.level)


def covariate_shift(sample: Sample, member: Members, propensity: Array) -> Finding:
    """Null: the inputs have the distribution that they have in the other environments.

    The effect is the AUROC with which a classifier that has not seen the rows tells the environment from the others,
    0.5 where they are alike: a classifier two-sample test, D. Lopez-Paz, M. Oquab, *Revisiting classifier two-sample
    tests*, ICLR 2017, arXiv:1610.06545.

    Args:
        sample: The rows.
        member: (N,).
        propensity: (N,) cross-fitted probability of being a member.
    """
    areas = [_area(sample, member, propensity, sample.fold == k) for k in np.unique(sample.fold)]
    known = [area for area in areas if np.isfinite(area.error[0])]
    if not known:
        return _not_tested("too few informative rows")
    value = np.mean([area.value for area in known], axis=0)
    error = LEARNT_FROM_EACH_OTHER * np.sqrt(np.sum([area.error**2 for area in known], axis=0)) / len(known)
    informative = np.sum([area.informative for area in known], axis=0)
    found = largest(Effects(value, error, informative), ("",), sample.level, null=0.5)
    if found.note or value[0] > 0.5:
        return _within(found, 0.0, 1.0)
    return _within(Finding(found.value, found.low, found.high, 1.0), 0.0, 1.0)


def concept_shift(sample: Sample, member: Members, propensity: Array, means: Array) -> Finding:
    """Null: given the inputs, the label's mean is that of the other environments, on average over alike rows.

    The generalised covariance measure; a shift of the inputs alone leaves its null true. The effect is the mean
    difference E[y | x, here] − E[y | x, elsewhere], over rows in proportion to how likely they could be of either.

    Args:
        sample: The rows.
        member: (N,).
        propensity: (N,) cross-fitted probability of being a member.
        means: (N, K) cross-fitted E[output | x].
    """
    direction = member - propensity
    if _overlap(sample, member, direction) < LEAST_OVERLAP:
        return _not_tested("hardly a row has its like elsewhere")
    return largest(slopes(sample.outputs - means, direction, sample.weight, sample.unit), sample.names, sample.level)


def pattern_shift(
    sample: Sample, member: Members, propensity: Array, means: Array, x: Array, *, logistic: bool
) -> Finding:
    """Null: given the inputs, the environment adds one constant to the label: to its log-odds, or its mean.

    A change of the labels' frequencies with the same inputs in each class adds a constant to the log-odds, so neither
    it nor a shift of the inputs makes this null false. Where in x the label changes most is learnt as a linear function
    h on the other fold; the effect is the difference E[y | x, here] − E[y | x, elsewhere], less that constant, where h
    is one standard deviation above its mean. The score is orthogonal to the two regressions, as in
    :func:`concept_shift`.

    Args:
        sample: The rows, of one output.
        member: (N,).
        propensity: (N,) cross-fitted probability of being a member.
        means: (N, 1) cross-fitted E[output | x].
        x: (N, F).
        logistic: Whether the output is zero or one.
    """
    y, m = sample.outputs[:, 0], means[:, 0]
    if _overlap(sample, member, member - propensity) < LEAST_OVERLAP:
        return _not_tested("hardly a row has its like elsewhere")
    scores = np.column_stack([x, m, m**2])
    product = ((y - m) * (member - propensity))[:, None]
    learnt = np.empty(len(y))
    for k in np.unique(sample.fold):
        other = sample.fold != k
        line = ridge(scores[other], product[other], sample.weight[other], PATTERN_PENALTY)
        learnt[~other] = line(scores[~other])[:, 0]
    left = _logistic_rest if logistic else _linear_rest
    residual, share, information = left(y, m, member.astype(float), propensity, sample.weight)
    h = _standardised(learnt, information)
    effects = slopes(residual[:, None], (member - share) * h, sample.weight, sample.unit)
    effects = Effects(effects.value, LEARNT_FROM_EACH_OTHER * effects.error, effects.informative)
    found = largest(effects, ("",), sample.level)
    if found.note or found.value > 0:
        return found
    return Finding(found.value, found.low, found.high, 1.0)


def largest(effects: Effects, names: tuple[str, ...], level: float, null: float = 0.0) -> Finding:
    """The output that differs most surely, with Bonferroni's p-value and interval over the outputs."""
    p = np.where(effects.informative >= LEAST_INFORMATIVE, effects.p_values(null), np.nan)
    tested = int((~np.isnan(p)).sum())
    if not tested:
        few = not (effects.informative >= LEAST_INFORMATIVE).any()
        return _not_tested("too few informative rows" if few else "it does not vary")
    k = int(np.nanargmin(p))
    value, half = float(effects.value[k]), float(effects.half_widths(1 - (1 - level) / tested)[k])
    return Finding(value, value - half, value + half, min(1.0, float(p[k]) * tested), names[k])


def _area(sample: Sample, member: Members, propensity: Array, rows: Members) -> Effects:
    units = None if sample.unit is None else sample.unit[rows]
    return area_between(propensity[rows], member[rows], sample.weight[rows], units)


def _overlap(sample: Sample, member: Members, direction: Array) -> float:
    """Share of the environment's variance that the inputs leave open."""
    share = np.average(member, weights=sample.weight)
    return float(np.average(direction**2, weights=sample.weight) / max(share * (1 - share), 1e-12))


def _linear_rest(y: Array, m: Array, e: Array, p: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Residual after a constant for the environment, the share to subtract from it, and each row's information."""
    constant = np.average((y - m) * (e - p), weights=weight) / np.average((e - p) ** 2, weights=weight)
    return y - m - constant * (e - p), p, weight * (e - p) ** 2


def _logistic_rest(y: Array, m: Array, e: Array, p: Array, weight: Array) -> tuple[Array, Array, Array]:
    """The same on the scale of log-odds: the constant solves its score equation by bisection."""
    m, p = np.clip(m, 0.01, 0.99), np.clip(p, 0.0, 1.0)
    low, high = -LARGEST_LOGIT, LARGEST_LOGIT
    for _ in range(25):
        middle = (low + high) / 2
        residual, share, _ = _at_constant(y, m, e, p, middle)
        above = weight @ (residual * (e - share)) > 0
        low, high = (middle, high) if above else (low, middle)
    residual, share, variance = _at_constant(y, m, e, p, (low + high) / 2)
    return residual, share, weight * variance * (e - share) ** 2


def _at_constant(y: Array, m: Array, e: Array, p: Array, constant: float) -> tuple[Array, Array, Array]:
    """Residuals, shares and variances if members' log-odds are raised by a constant and the mixture's mean is m.

    The odds t elsewhere solve p·tB/(1 + tB) + (1 − p)·t/(1 + t) = m with B = exp(constant), a quadratic equation.
    """
    B = np.exp(constant)
    a, b = B * (1 - m), p * B + 1 - p - m * (1 + B)
    root = np.sqrt(b**2 + 4 * a * m)
    t = np.where(b > 0, 2 * m / (b + root), (root - b) / (2 * a))
    here, elsewhere = t * B / (1 + t * B), t / (1 + t)
    expected = np.where(e > 0, here, elsewhere)
    variance_here, variance_elsewhere = here * (1 - here), elsewhere * (1 - elsewhere)
    share = p * variance_here / (p * variance_here + (1 - p) * variance_elsewhere)
    return y - expected, share, np.where(e > 0, variance_here, variance_elsewhere)


def _standardised(h: Array, information: Array) -> Array:
    mean = np.average(h, weights=information)
    spread = float(np.sqrt(np.average((h - mean) ** 2, weights=information)))
    return np.asarray((h - mean) / (spread or 1.0))


def _not_tested(why: str) -> Finding:
    return Finding(float("nan"), note=why)


def _within(found: Finding, lowest: float, highest: float) -> Finding:
    if found.low is None or found.high is None:
        return found
    return Finding(
        found.value, max(lowest, found.low), min(highest, found.high), found.p_value, found.about, found.note
    )
