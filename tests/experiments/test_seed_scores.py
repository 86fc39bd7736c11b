"""Intervals from lined-up scores, against naive resampling of the same rows."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from holdfast.experiments.seed_scores import MAX_UNITS, Term, combine
from holdfast.statistics import clopper_pearson, metric_named

ACCURACY, RMSE = metric_named("accuracy"), metric_named("rmse")


def term(seed, n=200, rate=0.7, first_unit=0, coefficient=1.0, metric=ACCURACY):
    rng = np.random.default_rng(seed)
    common, own = rng.random(n), rng.random((5, n))
    scores = 0.6 * common + 0.4 * own < rate + 0.02 * rng.normal(size=(5, 1))
    scores = scores if metric is ACCURACY else -rate * np.log(0.5 * common + 0.5 * own)
    return Term(scores.astype(float), np.arange(n) + first_unit, rng.uniform(0.5, 2, n), coefficient)


def naive(terms, metric, draws=20_000):
    """Mean over seeds of Σ coefficient × metric, and percentiles of it with units of all terms drawn together."""
    rng = np.random.default_rng(99)
    units = np.unique(np.concatenate([t.units for t in terms]))

    def of_seeds(times):
        return sum(
            t.coefficient
            * metric.finish((t.scores * t.weights * times[t.units]).sum(1) / (t.weights * times[t.units]).sum())
            for t in terms
        )

    ones = np.zeros(units.max() + 1)
    ones[units] = 1
    observed = of_seeds(ones)
    noise = rng.standard_t(len(observed) - 1, draws) * observed.std(ddof=1) / math.sqrt(len(observed))
    resampled = []
    for _ in range(2000):
        times = np.zeros(units.max() + 1)
        np.add.at(times, rng.choice(units, len(units)), 1)
        resampled.append(of_seeds(times).mean())
    return observed.mean(), np.quantile(np.resize(resampled, draws) + noise, [0.025, 0.975])


@pytest.mark.parametrize("metric", [ACCURACY, RMSE], ids=lambda m: m.name)
@pytest.mark.parametrize(
    "make",
    [
        lambda m: [term(1, metric=m)],
        lambda m: [term(1, 140, 0.9, coefficient=1.0, metric=m), term(2, 300, 0.5, 1000, -1.0, metric=m)],
        lambda m: [term(k, 80 + 60 * k, 0.4 + 0.1 * k, 1000 * k, 1 / 3, metric=m) for k in range(3)],
        lambda m: [
            term(3, metric=m, coefficient=0.5),
            term(4, metric=m, coefficient=0.5),
        ],  # the same rows in two folds
    ],
    ids=["one", "difference", "folds", "folds that share rows"],
)
def test_agrees_with_naive_resampling(make, metric):
    terms = make(metric)
    estimate = combine(terms, 5, metric).estimate(0.95, "test")
    value, (low, high) = naive(terms, metric)
    assert estimate.value == pytest.approx(value, abs=1e-9)
    assert [estimate.low, estimate.high] == pytest.approx([low, high], abs=0.12 * (high - low))


def test_rows_of_a_unit_are_drawn_together():
    alone = term(1, 400)
    pairs = Term(np.repeat(alone.scores, 2, axis=1), np.repeat(alone.units, 2), np.repeat(alone.weights, 2))
    estimate, twice = (combine([t], 5, ACCURACY).estimate(0.95) for t in (alone, pairs))
    assert (twice.low, twice.high) == pytest.approx((estimate.low, estimate.high), abs=1e-9)
    assert "cluster" in twice.interval
    assert "cluster" not in estimate.interval


def test_merging_units_keeps_value_and_width():
    n = 5 * MAX_UNITS
    scores = (np.random.default_rng(0).random((1, n)) < 0.8).astype(float)
    merged = combine([Term(scores, np.arange(n), np.ones(n))], 1, ACCURACY)
    assert merged.scores.shape == (1, MAX_UNITS)
    estimate = merged.estimate(0.95)
    exact = clopper_pearson(int(scores.sum()), n)
    assert estimate.value == pytest.approx(scores.mean(), abs=1e-12)
    assert estimate.high - estimate.low == pytest.approx(exact.high - exact.low, rel=0.1)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_perfect_score_on_few_rows_is_not_certain(right):
    scores = np.full((5, 12), right)
    estimate = combine([Term(scores, np.arange(12), np.ones(12))], 5, ACCURACY).estimate(0.95)
    exact = clopper_pearson(12 * right, 12)
    assert (estimate.low, estimate.high) == (exact.low, exact.high)


@pytest.mark.parametrize("right", [[1.0] * 12, [0.0, 1.0] * 6])
def test_one_unit_of_rows_has_no_interval(right):
    scores = np.tile(right, (5, 1))
    estimate = combine([Term(scores, np.zeros(12, dtype=int), np.ones(12))], 5, ACCURACY).estimate(0.95)
    assert (estimate.low, estimate.high, estimate.interval) == (None, None, "none (1 unit of rows)")


def test_ends_are_cut_to_what_is_possible():
    near = Term((np.random.default_rng(0).random((2, 30)) < 0.9).astype(float), np.arange(30), np.ones(30))
    flipped = Term(1 - near.scores, np.arange(30), np.ones(30), -1.0)
    level = combine([near], 2, ACCURACY).estimate(0.99)
    difference = combine([near, flipped], 2, ACCURACY).estimate(0.99)
    assert (level.low, level.high) == (0.0, 1.0)  # Student's t with one degree of freedom
    assert (difference.low, difference.high) == (-1.0, 1.0)


def test_rows_without_weight_do_not_count():
    full = term(1)
    extra = np.hstack([full.scores, np.full((5, 9), np.nan)])
    padded = Term(extra, np.arange(209), np.append(full.weights, np.zeros(9)))
    assert combine([padded], 5, ACCURACY).estimate(0.95).value == combine([full], 5, ACCURACY).estimate(0.95).value


def test_no_number_without_scores():
    assert combine([], 5, ACCURACY).estimate(0.95).interval == "none (no rows)"
    assert combine([term(1)], 5, ACCURACY).estimate(0.95).n_seeds == 5
    none = combine([dataclasses.replace(term(1), scores=np.empty((0, 200)))], 0, ACCURACY).estimate(0.95)
    assert math.isnan(none.value)
    assert none.interval == "none (no finished cell)"
    broken = term(1)
    broken.scores[2, 3] = np.nan
    estimate = combine([broken], 5, ACCURACY).estimate(0.95)
    assert math.isnan(estimate.value)
    assert estimate.low is None
