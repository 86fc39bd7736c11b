"""Gaps of shortcuts in closed form, with intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.statistics import clopper_pearson
from holdfast.statistics.shortcut_gaps import CellAccuracies, cells_of, over_represented

SHARES = np.array([0.9025, 0.0475, 0.0475, 0.0025])
"""Of two shortcuts that hold with probability 0.95 each."""


def found(right: list[int], counts: list[int], shares: np.ndarray = SHARES, **more: object) -> CellAccuracies:
    hits = np.concatenate([np.arange(n) < k for k, n in zip(right, counts, strict=True)])
    cells = np.repeat(np.arange(len(counts)), counts)
    return CellAccuracies.of(hits, cells, shares, rng=np.random.default_rng(0), **more)  # type: ignore[arg-type]


def test_gaps_are_accuracy_less_accuracy_in_distribution() -> None:
    cells = found([20, 10, 15, 4], [20, 20, 20, 20])
    within = 0.9025 * 1 + 0.0475 * 0.5 + 0.0475 * 0.75 + 0.0025 * 0.2
    assert cells.in_distribution == pytest.approx(within)
    assert [cells.gap(c).value for c in range(4)] == pytest.approx(
        [1 - within, 0.5 - within, 0.75 - within, 0.2 - within]
    )
    assert [cells.gap(c).n for c in range(4)] == [20] * 4


def test_shares_need_not_sum_to_one_and_test_frequencies_do_not_matter() -> None:
    one, other = found([20, 10, 15, 4], [20, 20, 20, 20]), found([40, 10, 3, 20], [40, 20, 4, 100], 1000 * SHARES)
    assert one.gap(3).value == pytest.approx(other.gap(3).value)


def test_the_interval_combines_those_of_the_cells() -> None:
    cells = found([80, 10], [100, 40], np.array([0.75, 0.25]))
    gap = cells.gap(1)
    first, second = clopper_pearson(80, 100), clopper_pearson(10, 40)
    assert gap.value == pytest.approx(0.75 * (0.25 - 0.8))  # as the shares enter: .75 × broken − .75 × whole
    assert gap.low == pytest.approx(gap.value - np.hypot(0.75 * (0.25 - second.low), 0.75 * (first.high - 0.8)))
    assert gap.high == pytest.approx(gap.value + np.hypot(0.75 * (second.high - 0.25), 0.75 * (0.8 - first.low)))


def test_intervals_cover_the_truth() -> None:
    rng, truth = np.random.default_rng(0), np.array([0.97, 0.7, 0.85, 0.3])
    cells = np.repeat(np.arange(4), 40)
    wanted = truth[3] - SHARES @ truth
    covered = []
    for _ in range(300):
        gap = CellAccuracies.of(rng.random(160) < truth[cells], cells, SHARES, rng=rng).gap(3)
        assert gap.low is not None
        assert gap.high is not None
        covered.append(gap.low <= wanted <= gap.high)
    assert np.mean(covered) > 0.93


def test_empty_cells() -> None:
    cells = found([20, 10, 0, 0], [20, 20, 0, 0])
    assert np.isnan(cells.in_distribution)  # a cell of 4.75 % of the training rows is missing
    assert np.isnan(cells.gap(1).value)
    assert cells.gap(1).low is None
    few = found([20, 10, 15, 0], [20, 20, 20, 0])  # 0.25 % are negligible
    assert few.in_distribution == pytest.approx((0.9025 + 0.0475 * 0.5 + 0.0475 * 0.75) / 0.9975)
    assert np.isnan(few.gap(3).value)
    assert few.gap(1).high is not None


def test_rows_of_a_unit_count_as_one() -> None:
    hits, cells, shares = np.repeat([1, 0, 1, 1, 0, 0], 10) > 0, np.repeat([0, 0, 0, 1, 1, 1], 10), np.array([0.5, 0.5])
    rows = CellAccuracies.of(hits, cells, shares, rng=np.random.default_rng(0)).gap(1)
    units = CellAccuracies.of(hits, cells, shares, rng=np.random.default_rng(0), units=np.repeat(np.arange(6), 10)).gap(
        1
    )
    assert units.value == pytest.approx(rows.value)
    assert units.high - units.low > 1.5 * (rows.high - rows.low)  # type: ignore[operator]


def test_the_class_that_goes_with_a_value_is_the_over_represented_one() -> None:
    y = np.repeat([0, 1, 2], [90, 9, 9])
    values = np.concatenate([np.repeat([0, 1, 2], [60, 20, 10]), np.full(9, 1), np.full(9, 2)])
    assert over_represented(y, values, 3, 4).tolist() == [0, 1, 2, -1]  # though class 0 is most frequent at each


def test_cells_number_the_sets_of_broken_shortcuts() -> None:
    assert cells_of(np.array([[0, 0, 1], [1, 1, 0]]) > 0).tolist() == [4, 3]
