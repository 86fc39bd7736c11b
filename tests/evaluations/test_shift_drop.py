from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.evaluations.shift_drop import ShiftDrop, difference_interval
from holdfast.statistics import Interval, clopper_pearson, no_interval, wilson


def rate(n: int, right: int) -> dict[str, Any]:
    return {"outputs": [[1.0, 0.0]] * n, "y": [0] * right + [1] * (n - right)}


def test_a_drop_is_in_distribution_minus_shifted(bench: Any, pick: Any) -> None:
    result = bench.run(
        ShiftDrop(),
        bench.split("selection", "selection", **rate(20, 20)),
        bench.split("same", "test", **rate(50, 45)),
        bench.split("grey", "test", **rate(40, 20), shifted=True),
        bench.split("blue", "test", **rate(40, 40), shifted=True),
    )
    grey, blue = pick(result, split="grey"), pick(result, split="blue")
    assert len(result.measurements) == 2
    assert (grey.value, blue.value) == (pytest.approx(0.4), pytest.approx(-0.1))
    assert (grey.metric, grey.note, grey.n, grey.higher_is_better) == ("accuracy-drop", "from same", 40, False)
    exact = difference_interval(0.9, clopper_pearson(45, 50), 0.5, clopper_pearson(20, 40))
    assert (grey.low, grey.high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    assert grey.interval == "mover of clopper-pearson"


def test_a_rising_error_is_a_loss(bench: Any, pick: Any) -> None:
    rng = np.random.default_rng(0)
    result = bench.run(
        ShiftDrop(level=0.9),
        bench.split("selection", "selection", np.zeros((300, 1)), rng.normal(size=300)),
        bench.split("test", "test", np.zeros((400, 1)), 2 * rng.normal(size=400), shifted=True),
    )
    found = pick(result, metric="rmse-drop", split="test")
    assert found.value == pytest.approx(1.0, abs=0.3)
    assert 0 < found.low < found.value < found.high
    assert (found.note, found.interval, found.level) == ("from selection", "mover of bootstrap", 0.9)


def test_without_rows_to_compare_with_there_is_no_drop(bench: Any, pick: Any) -> None:
    shifted = bench.split("test", "test", **rate(10, 5), shifted=True)
    found = pick(bench.run(ShiftDrop(), bench.split("train", "train", **rate(10, 9)), shifted))
    assert math.isnan(found.value)
    assert (found.note, found.low) == ("no test or selection split without shift to compare with", None)
    other = bench.split("selection", "selection", **rate(10, 9), shifted=True)
    assert math.isnan(pick(bench.run(ShiftDrop(), other, shifted)).value)


def test_without_a_shifted_test_there_is_nothing_to_say(bench: Any) -> None:
    assert bench.run(ShiftDrop(), bench.split("test", "test", **rate(10, 5))).measurements == ()


@pytest.mark.parametrize("diverged", ["same", "grey"])
def test_a_diverged_model_has_no_drop(bench: Any, pick: Any, diverged: str) -> None:
    rows = {name: rate(10, 5) for name in ("same", "grey")}
    rows[diverged]["outputs"] = [[math.nan, 0.0]] * 10
    splits = [bench.split(name, "test", **rows[name], shifted=name == "grey") for name in rows]
    found = pick(bench.run(ShiftDrop(), *splits))
    assert math.isnan(found.value)
    assert found.note == "a prediction is not a finite number"


def test_units_widen_the_interval_and_a_missing_one_is_explained(bench: Any, pick: Any) -> None:
    rng = np.random.default_rng(1)
    rows = {"outputs": [[1.0, 0.0]] * 200, "y": np.repeat(rng.integers(2, size=50), 4)}
    same, grey = ({**rows, "unit": start + np.arange(200) // 4} for start in (0, 100))

    def run(first: dict[str, Any], second: dict[str, Any]) -> Any:
        splits = bench.split("same", "test", **first), bench.split("grey", "test", **second, shifted=True)
        return pick(bench.run(ShiftDrop(), *splits))

    plain, united = run(rows, rows), run(same, grey)
    assert (united.unit, united.interval) == ("unit", "mover of cluster bootstrap")
    assert united.high - united.low > 1.5 * (plain.high - plain.low)
    single = run(same, {**grey, "unit": np.full(200, 100)})
    assert single.value == united.value
    assert (single.low, single.high, single.interval) == (None, None, "")
    assert single.note == "from same; interval: none (cluster bootstrap of 1 unit)"


def test_the_published_example_of_newcombe() -> None:
    # R. Newcombe, Interval estimation for the difference between independent proportions, 1998, table II, method 10.
    interval = difference_interval(56 / 70, wilson(56, 70), 48 / 80, wilson(48, 80))
    assert (round(interval.low or 0, 4), round(interval.high or 0, 4)) == (0.0524, 0.3339)
    edge = difference_interval(9 / 10, wilson(9, 10), 3 / 10, wilson(3, 10))
    assert (round(edge.low or 0, 4), round(edge.high or 0, 4)) == (0.1705, 0.8090)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_the_interval_turns_over_with_the_difference(n: int, m: int, p: float, q: float) -> None:
    a, b = round(p * n), round(q * m)
    first, second = clopper_pearson(a, n), clopper_pearson(b, m)
    one = difference_interval(a / n, first, b / m, second)
    other = difference_interval(b / m, second, a / n, first)
    assert one.low is not None
    assert one.high is not None
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))  # type: ignore[operator]
    assert one.low <= a / n - b / m <= one.high
    assert -1 - 1e-9 <= one.low <= one.high <= 1 + 1e-9


@pytest.mark.parametrize(("p", "n", "q", "m"), [(0.97, 144, 0.6, 540), (0.99, 100, 0.97, 80), (0.5, 30, 0.5, 400)])
def test_the_interval_covers_the_difference(p: float, n: int, q: float, m: int) -> None:
    rng = np.random.default_rng(0)
    draws = 1500
    covered = 0
    for a, b in zip(rng.binomial(n, p, draws), rng.binomial(m, q, draws), strict=True):
        interval = difference_interval(a / n, clopper_pearson(a, n), b / m, clopper_pearson(b, m))
        covered += interval.contains(p - q)
    assert covered / draws >= 0.95 - 3 * (0.05 * 0.95 / draws) ** 0.5


def test_one_missing_interval_is_enough() -> None:
    known, unknown = Interval(0.1, 0.9, 0.95, "wilson"), no_interval(0.95, "1 unit")
    for pair in ((known, unknown), (unknown, known), (known, Interval(0.1, None, 0.95, "one-sided"))):
        found = difference_interval(0.5, pair[0], 0.5, pair[1])
        assert (found.low, found.high) == (None, None)
