from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.statistics.groups import GroupValues, check_groups, group_counts, group_values, worst_group_interval
from holdfast.statistics.intervals import metric_interval, simultaneous_worst
from holdfast.statistics.metrics import METRICS


def log_p_of(prediction):
    return np.log(np.where(np.eye(2)[np.asarray(prediction)] > 0, 0.9, 0.1))


def test_a_missing_group_credits_nobody_else():
    """torchmetrics 1.9 gives the counts of an absent group's successor to it; ids [0, 2, 2] of 3 show that."""
    result = group_values(METRICS["accuracy"], [1, 1, 1], log_p_of([1, 1, 0]), [0, 2, 2], 3)
    np.testing.assert_array_equal(result.values, [1.0, np.nan, 0.5])
    np.testing.assert_array_equal(result.counts, [1, 0, 2])
    assert result.worst == 2


def test_rows_of_unknown_group_are_in_no_group():
    result = group_values(METRICS["accuracy"], [1, 1, 1], log_p_of([1, 0, 0]), [0, -1, -1], 1)
    assert (result.values.tolist(), result.counts.tolist()) == ([1.0], [1])


@pytest.mark.parametrize("bad", [3, 4, -2])
def test_ids_out_of_range_raise(bad):
    with pytest.raises(UserError, match=rf"group id {bad} is out of range: ids are 0\.\.2"):
        group_values(METRICS["accuracy"], [1, 1], log_p_of([1, 1]), [0, bad], 3)
    with pytest.raises(UserError, match="out of range"):
        group_counts([0, bad], 3)


@pytest.mark.parametrize("groups", [[0.0, 1.0], [0], [[0, 1]], [True, False]])
def test_groups_are_one_integer_per_row(groups):
    with pytest.raises(UserError, match="one integer per row"):
        check_groups(groups, 2, 2)


def test_values_are_the_metric_of_the_rows():
    rng = np.random.default_rng(0)
    y, mean, groups, weights = rng.normal(size=50), rng.normal(size=50), rng.integers(0, 4, 50), rng.random(50)
    for name in ("rmse", "mae", "r2"):
        result = group_values(METRICS[name], y, mean, groups, 5, weights)
        for g in range(4):
            rows = groups == g
            assert result.values[g] == METRICS[name](y[rows], mean[rows], weights[rows])
        assert np.isnan(result.values[4])


def test_worst_follows_the_direction_and_ignores_undefined_groups():
    values, counts = np.array([np.nan, 0.2, 0.9]), np.array([4, 3, 2])
    assert GroupValues(values, counts, higher_is_better=True).worst == 1
    assert GroupValues(values, counts, higher_is_better=False).worst == 2
    with pytest.raises(UserError, match="no worst group"):
        _ = GroupValues(np.array([np.nan]), np.array([0]), higher_is_better=True).worst


def test_rows_of_zero_weight_are_not_counted():
    result = group_values(METRICS["mae"], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0, 0, 1], 2, [1.0, 0.0, 0.0])
    assert result.counts.tolist() == [1, 0]
    np.testing.assert_array_equal(result.values, [1.0, np.nan])


def test_worst_group_interval_of_a_rate_is_the_exact_one():
    rng = np.random.default_rng(1)
    y, predicted, groups = rng.integers(0, 2, 90), rng.integers(0, 2, 90), rng.integers(-1, 4, 90)
    groups[groups == 2] = 3
    hits = [((y == predicted) & (groups == g)).sum() for g in range(4)]
    got = worst_group_interval(METRICS["accuracy"], y, log_p_of(predicted), groups, rng=rng)
    assert got == simultaneous_worst(hits, group_counts(groups, 4))


def test_worst_group_interval_of_an_error_is_the_greatest_of_bootstraps_at_split_level():
    rng = np.random.default_rng(2)
    y, mean, groups, units = rng.normal(size=80), np.zeros(80), np.arange(80) % 2, np.arange(80) // 4
    y[groups == 1] *= 3
    got = worst_group_interval(METRICS["rmse"], y, mean, groups, rng=np.random.default_rng(3), units=units)
    again = np.random.default_rng(3)
    each = [
        metric_interval(METRICS["rmse"], y[rows], mean[rows], rng=again, units=units[rows], level=0.975)
        for rows in (groups == 0, groups == 1)
    ]
    assert (got.low, got.high) == (max(i.low for i in each), max(i.high for i in each))
    assert got.kind == "simultaneous cluster bootstrap over 2 groups"


def test_a_group_without_an_interval_leaves_one_bound():
    y, mean = np.r_[np.random.default_rng(4).normal(size=30), 9.0], np.zeros(31)
    got = worst_group_interval(METRICS["mae"], y, mean, np.r_[np.zeros(30, int), 1], rng=np.random.default_rng(5))
    assert got.low is not None
    assert got.high is None


def test_no_group_has_no_worst():
    with pytest.raises(UserError, match="no worst group"):
        worst_group_interval(METRICS["mae"], [1.0], [1.0], [-1], rng=np.random.default_rng(0))
