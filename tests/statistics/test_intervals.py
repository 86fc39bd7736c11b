from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from holdfast.core.errors import UserError
from holdfast.statistics.intervals import (
    Interval,
    bootstrap,
    clopper_pearson,
    mean_t,
    metric_interval,
    no_interval,
    rate_interval,
    simultaneous_worst,
    wilson,
    worst_of,
)
from holdfast.statistics.means import weighted_mean
from holdfast.statistics.metrics import METRICS


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(n=st.integers(1, 500), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.999]))
@settings(max_examples=60, deadline=None)
def test_rates_agree_with_scipy(n, share, level):
    k = round(share * n)
    for mine, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        wanted = stats.binomtest(k, n).proportion_ci(level, method)
        got = mine(k, n, level)
        assert (got.low, got.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
        assert (got.level, got.kind) == (level, mine.__name__.replace("_", "-"))


def coverage(interval, n, rate, level):
    """Exact: the binomial chance of the counts whose interval holds the rate."""
    chance = stats.binom.pmf(range(n + 1), n, rate)
    return sum(chance[k] for k in range(n + 1) if interval(k, n, level).contains(rate))


def test_exact_coverage_of_rates():
    rates = np.linspace(0.01, 0.99, 41)
    exact = [coverage(clopper_pearson, 20, r, 0.9) for r in rates]
    score = [coverage(wilson, 20, r, 0.9) for r in rates]
    assert min(exact) >= 0.9
    assert min(score) < 0.9
    assert np.mean(score) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("k", "n", "level"), [(1, 0, 0.9), (3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0), (1, 2, 0), (1, 2, 95)]
)
def test_impossible_rates_and_levels_are_named(k, n, level):
    for interval in (clopper_pearson, wilson):
        with pytest.raises(UserError):
            interval(k, n, level)


def test_mean_t_agrees_with_scipy_and_needs_two_values():
    values = generator().normal(size=7)
    wanted = stats.t.interval(0.9, 6, values.mean(), stats.sem(values))
    got = mean_t(values, 0.9)
    assert (got.low, got.high) == pytest.approx(wanted)
    assert mean_t([1.0]) == no_interval(0.95, "fewer than 2 values")
    assert mean_t([1.0, np.nan]).low is None


def test_equal_numbers_of_all_seeds_are_not_certainty():
    assert mean_t([0.3, 0.3, 0.3]) == no_interval(0.95, "all values are equal")
    assert mean_t([0.1 + 0.2, 0.3]).low is None


@pytest.mark.parametrize("hits", [[True] * 6, [True, False] * 3])
def test_one_unit_of_rows_has_no_interval(hits):
    interval = rate_interval(hits, rng=generator(), units=[7] * 6)
    assert (interval.low, interval.high) == (None, None)
    assert "1 unit" in interval.kind


def test_missing_bounds_exclude_nothing():
    assert no_interval(0.95, "why").contains(1e9)
    assert Interval(None, 1.0, 0.95, "").contains(-1e9)
    assert not Interval(None, 1.0, 0.95, "").contains(1.1)


def mean_interval(values, seed=0, **options):
    return bootstrap(lambda w: weighted_mean(values, w), len(values), rng=generator(seed), **options)


@pytest.mark.parametrize("n", [6, 200])
def test_bootstrap_of_a_mean_is_about_students_t(n):
    values = stats.norm.ppf((np.arange(n) + 0.5) / n)
    student, got = mean_t(values), mean_interval(values, replicates=20000)
    assert (got.low, got.high) == pytest.approx((student.low, student.high), rel=0.2 if n == 6 else 0.05)


def test_bootstrap_covers_for_few_units_where_the_plain_percentile_does_not():
    rng, hits, plain = generator(1), 0, 0
    for seed in range(300):
        values = rng.normal(size=8)
        hits += mean_interval(values, seed, replicates=1000).contains(0)
        means = (generator(seed).multinomial(8, np.full(8, 1 / 8), 1000) @ values) / 8
        low, high = np.quantile(means, [0.025, 0.975])
        plain += low <= 0 <= high
    assert 0.915 <= hits / 300 <= 0.985
    assert plain / 300 < 0.915


def test_clusters_widen_the_interval_as_theory_says():
    effect = generator(2).normal(size=50)
    values, units = np.repeat(effect, 8), np.repeat(np.arange(50), 8)
    by_unit, by_row = mean_interval(values, units=units), mean_interval(values)
    assert (by_unit.high - by_unit.low) / (by_row.high - by_row.low) == pytest.approx(8**0.5, rel=0.1)
    assert (by_unit.kind, by_row.kind) == ("cluster bootstrap", "bootstrap")


def test_bootstrap_follows_monotone_transformations():
    squares = generator(3).normal(size=40) ** 2
    mean, root = mean_interval(squares), bootstrap(lambda w: weighted_mean(squares, w) ** 0.5, 40, rng=generator())
    assert (root.low, root.high) == pytest.approx((mean.low**0.5, mean.high**0.5))


def test_bootstrap_depends_on_the_generator_alone():
    values = generator(4).normal(size=30)
    assert mean_interval(values, 7) == mean_interval(values, 7)
    assert mean_interval(values, 7) != mean_interval(values, 8)


def test_bootstrap_weights_multiply():
    values, weights = generator(5).normal(size=200), np.r_[np.ones(100), np.zeros(100)]
    half = mean_interval(values, weights=weights, replicates=5000)
    alone = mean_interval(values[:100], replicates=5000)
    assert (half.low, half.high) == pytest.approx((alone.low, alone.high), abs=0.04)


def test_high_levels_get_the_replicates_they_need():
    seen = []

    def statistic(w):
        seen.append(len(w))
        return weighted_mean(np.arange(20.0), w)

    bootstrap(statistic, 20, rng=generator(), level=0.999)
    assert sum(seen) == 10000


def test_bounds_are_resampled_values_rounded_outwards():
    tail = stats.norm.cdf(-((50 / 49) ** 0.5) * stats.t.ppf(0.95, 49))
    drawn = np.arange(999.0)
    ordered = bootstrap(lambda w: drawn[: len(w)], 50, rng=generator(), replicates=999, level=0.9)
    assert (ordered.low, ordered.high) == (math.floor(tail * 998), math.ceil((1 - tail) * 998))


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        ([1.0], {}, "1 unit"),
        ([1.0, 2.0], {"units": [3, 3]}, "cluster bootstrap of 1 unit"),
        ([1.0, 2.0], {"weights": [0.0, 1.0]}, "1 unit"),
        ([0.1] * 7, {"weights": np.arange(1, 8)}, "same value"),
    ],
)
def test_no_interval_where_nothing_can_be_said(values, options, reason):
    interval = mean_interval(np.array(values), **options)
    assert (interval.low, interval.high) == (None, None)
    assert reason in interval.kind


def test_undefined_resamples_are_left_out_until_they_are_too_many():
    y = np.array([0] * 10 + [1] * 10)
    log_p = np.log(np.tile([0.4, 0.6], (20, 1)) + 0.01 * np.arange(20)[:, None] % 0.07 * [1, -1])
    assert metric_interval(METRICS["auroc"], y, log_p, rng=generator()).low is not None
    rare = metric_interval(METRICS["auroc"], np.r_[1, np.zeros(19, int)], log_p, rng=generator())
    assert (rare.low, "undefined" in rare.kind) == (None, True)


def test_an_infinite_loss_is_an_infinite_bound():
    log_p = np.log(np.tile([0.3, 0.7], (30, 1)))
    with np.errstate(divide="ignore"):
        log_p[0] = np.log([0.0, 1.0])
    interval = metric_interval(METRICS["log-loss"], np.arange(30) % 2, log_p, rng=generator())
    assert interval.high == math.inf
    assert math.isfinite(interval.low)


def test_rate_interval_names_what_the_rows_allow():
    hit = np.array([True] * 15 + [False] * 5)
    assert rate_interval(hit, rng=generator()) == clopper_pearson(15, 20)
    assert rate_interval(hit, rng=generator(), weights=np.full(20, 0.1), units=np.arange(20)) == clopper_pearson(15, 20)
    assert rate_interval(hit, rng=generator(), weights=np.r_[np.zeros(10), np.ones(10)]) == clopper_pearson(5, 10)
    assert rate_interval(hit, rng=generator(), weights=np.arange(1, 21)).kind == "bootstrap"
    assert rate_interval(hit, rng=generator(), units=np.arange(20) // 2).kind == "cluster bootstrap"
    assert rate_interval([], rng=generator()).kind == "none (no rows)"
    assert rate_interval([True, False], rng=generator(), units=[1, 1]).low is None


@pytest.mark.parametrize("value", [True, False])
def test_all_alike_rows_count_as_their_units(value):
    got = rate_interval(np.full(40, value), rng=generator(), units=np.arange(40) // 4)
    wanted = clopper_pearson(10 * value, 10)
    assert (got.low, got.high, got.kind) == (wanted.low, wanted.high, "clopper-pearson over units")
    uneven = rate_interval(np.full(3, value), rng=generator(), weights=[100.0, 1.0, 1.0])
    assert uneven.high - uneven.low > 0.9


def test_clustered_rates_are_covered_where_the_binomial_interval_fails():
    rng, clustered, binomial = generator(6), 0, 0
    units = np.arange(300) // 10
    for seed in range(200):
        hit = rng.random(300) < np.repeat(rng.beta(1.4, 0.6, 30), 10)
        clustered += rate_interval(hit, rng=generator(seed), units=units, replicates=500).contains(0.7)
        binomial += rate_interval(hit, rng=generator(seed)).contains(0.7)
    assert clustered / 200 > 0.9
    assert binomial / 200 < 0.8


def test_metric_interval_follows_the_metric():
    y, log_p = np.arange(40) % 2, np.log(generator(7).dirichlet([1, 1], 40))
    correct = int((log_p.argmax(1) == y).sum())
    assert metric_interval(METRICS["accuracy"], y, log_p, rng=generator()) == clopper_pearson(correct, 40)
    for name in ("balanced-accuracy", "auroc", "auprc", "log-loss", "brier"):
        interval = metric_interval(METRICS[name], y, log_p, rng=generator())
        assert interval.low < METRICS[name](y, log_p) < interval.high
    assert "no interval is known" in metric_interval(METRICS["ece"], y, log_p, rng=generator()).kind
    undefined = metric_interval(METRICS["auroc"], np.ones(40, int), log_p, rng=generator())
    assert undefined.kind == "none (only class 1 is present)"


def test_metric_interval_leaves_rows_of_zero_weight_out():
    y, mean = generator(8).normal(size=(2, 30))
    weights, units = np.r_[0, np.ones(29)], np.arange(30) // 3
    broken = mean.copy()
    broken[0] = np.nan
    for name in ("rmse", "r2"):
        got = metric_interval(METRICS[name], y, broken, rng=generator(), weights=weights, units=units)
        assert got == metric_interval(METRICS[name], y[1:], mean[1:], rng=generator(), units=units[1:])


def test_simultaneous_worst_is_the_design():
    got = simultaneous_worst([90, 5, 0, 8], [100, 10, 0, 9], 0.94)
    each = [clopper_pearson(k, n, 0.98) for k, n in ((90, 100), (5, 10), (8, 9))]
    assert (got.low, got.high) == (min(i.low for i in each), min(i.high for i in each))
    assert (got.level, got.kind) == (0.94, "simultaneous clopper-pearson over 3 groups")
    with pytest.raises(UserError, match="no worst group"):
        simultaneous_worst([0, 0], [0, 0])


def test_simultaneous_worst_covers_where_the_interval_of_the_worst_seen_does_not():
    rng, held, naive = generator(9), 0, 0
    for _ in range(500):
        hits = rng.binomial(40, 0.8, 12)
        held += simultaneous_worst(hits, np.full(12, 40)).contains(0.8)
        naive += clopper_pearson(hits.min(), 40).contains(0.8)
    assert held / 500 >= 0.95
    assert naive / 500 < 0.9


def test_worst_of_mirrors_and_drops_only_bounds_that_matter():
    a, b = Interval(1.0, 3.0, 0.975, "x"), Interval(2.0, 2.5, 0.975, "x")
    least, greatest = worst_of([a, b], 0.95), worst_of([a, b], 0.95, higher_is_better=False)
    assert (least.low, least.high) == (1.0, 2.5)
    assert (greatest.low, greatest.high) == (2.0, 3.0)
    unknown = no_interval(0.975, "tiny")
    least, greatest = worst_of([a, unknown], 0.95), worst_of([a, unknown], 0.95, higher_is_better=False)
    assert (least.low, least.high) == (None, 3.0)
    assert (greatest.low, greatest.high) == (1.0, None)
    assert worst_of([unknown], 0.95).contains(0)
