from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core.artifacts import Matrix, Table, from_json, to_json
from holdfast.evaluations.worst_group import WorstGroup
from holdfast.statistics import clopper_pearson, simultaneous_worst

NAMES = ("north", "south", "east")
AGES = ("young", "old", "absent")
fast = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def draw(seed: int, n: int, classes: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "outputs": rng.normal(size=(n, classes)),
        "y": rng.integers(classes, size=n),
        "environment": rng.integers(-1, 3, size=n),
        "group": rng.integers(-1, 2, size=n),
    }


@fast
@given(seed=st.integers(0, 2**32), n=st.integers(20, 80))
def test_the_worst_accuracy_by_brute_force(bench: Any, pick: Any, seed: int, n: int) -> None:
    rows = draw(seed, n)
    result = bench.run(WorstGroup(), bench.split("test", "test", **rows))
    right = rows["outputs"].argmax(1) == rows["y"]
    assert len(result.measurements) == 2
    for what, names in (("environment", NAMES), ("group", AGES)):
        present = [code for code in range(3) if (rows[what] == code).any()]
        accuracy = {names[code]: right[rows[what] == code].mean() for code in present}
        worst = min(accuracy, key=lambda name: accuracy[name])
        found = pick(result, metric=f"worst-{what}-accuracy", **{what: worst})
        counts = [(right[rows[what] == code].sum(), (rows[what] == code).sum()) for code in present]
        together = simultaneous_worst(*np.array(counts).T)
        assert found.value == pytest.approx(accuracy[worst])
        assert (found.low, found.high) == (pytest.approx(together.low), pytest.approx(together.high))
        assert found.interval == f"simultaneous clopper-pearson over {len(present)} groups"
        assert found.n == (rows[what] == names.index(worst)).sum()
        assert found.higher_is_better


def test_for_an_error_the_worst_is_the_largest(bench: Any, pick: Any) -> None:
    environment = np.repeat([0, 1, 2], 30)
    y = np.random.default_rng(0).normal(size=90) * np.array([1.0, 3.0, 2.0])[environment]
    split = bench.split("test", "test", np.zeros((90, 1)), y, environment=environment)
    found = pick(bench.run(WorstGroup(), split), metric="worst-environment-rmse", environment="south")
    assert found.value == pytest.approx((y[30:60] ** 2).mean() ** 0.5)
    assert not found.higher_is_better
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.interval == "simultaneous bootstrap over 3 groups"


def test_weights_decide_who_is_worst(bench: Any, pick: Any) -> None:
    y, environment = [0, 1, 0, 1], [0, 0, 1, 1]
    outputs = [[1.0, 0.0]] * 4
    for weight, worst, value in (([3, 1, 1, 3], "south", 0.25), ([1, 3, 3, 1], "north", 0.25)):
        split = bench.split("test", "test", outputs, y, environment=environment, weight=np.array(weight, dtype=float))
        found = pick(bench.run(WorstGroup(), split), metric="worst-environment-accuracy", environment=worst)
        assert found.value == pytest.approx(value)


def test_groups_without_weight_are_left_out(bench: Any, pick: Any) -> None:
    split = bench.split(
        "test", "test", [[1.0, 0.0]] * 3, [0, 0, 1], environment=[0, 0, 1], weight=np.array([1.0, 1.0, 0.0])
    )
    result = bench.run(WorstGroup(), split)
    assert pick(result, metric="worst-environment-accuracy", environment="north").value == 1.0
    assert [row[2] for row in result.artifacts[0].rows] == ["north"]


def test_rows_of_no_known_group_have_no_worst(bench: Any, pick: Any) -> None:
    split = bench.split("test", "test", [[1.0, 0.0]] * 2, [0, 1], environment=[0, 1], group=[-1, -1])
    found = pick(bench.run(WorstGroup(), split), metric="worst-group-accuracy")
    assert math.isnan(found.value)
    assert (found.note, found.n, found.low, found.group) == ("no row of a known group", 0, None, None)


def test_a_group_without_numbers_is_the_worst_and_not_left_out(bench: Any, pick: Any) -> None:
    outputs = [[1.0, 0.0], [1.0, 0.0], [np.nan, 0.0]]
    split = bench.split("test", "test", outputs, [0, 1, 0], environment=[0, 1, 2])
    found = pick(bench.run(WorstGroup(), split), metric="worst-environment-accuracy", environment="east")
    assert math.isnan(found.value)
    assert (found.note, found.low) == ("a prediction is not a finite number", None)


def test_units_are_resampled_together(bench: Any, pick: Any) -> None:
    rows = draw(1, 120)
    split = bench.split("test", "test", **rows, unit=np.arange(120) // 4)
    for what in ("environment", "group"):
        (found,) = [m for m in bench.run(WorstGroup(), split).measurements if m.metric == f"worst-{what}-accuracy"]
        assert (found.unit, "simultaneous cluster bootstrap" in found.interval) == ("unit", True)


def test_the_level_is_shared_by_all_groups(bench: Any, pick: Any) -> None:
    split = bench.split("test", "test", [[1.0, 0.0]] * 20, [0] * 9 + [1] * 11, environment=[0] * 10 + [1] * 10)
    found = pick(bench.run(WorstGroup(level=0.9), split), metric="worst-environment-accuracy", environment="south")
    exact = clopper_pearson(0, 10, 0.95)
    assert (found.low, found.high, found.level) == (exact.low, pytest.approx(exact.high), 0.9)


def test_a_table_lists_every_group_of_every_split(bench: Any) -> None:
    rows = draw(2, 60)
    result = bench.run(
        WorstGroup(), bench.split("selection", "selection", **draw(3, 60)), bench.split("test", "test", **rows)
    )
    table = result.artifacts[0]
    assert isinstance(table, Table)
    assert table.columns == ("split", "of", "name", "n", "accuracy", "low", "high")
    assert [row[:3] for row in table.rows] == [
        (split, what, name)
        for split in ("selection", "test")
        for what, names in (("environment", NAMES), ("group", AGES[:2]))
        for name in names
    ]
    right = rows["outputs"].argmax(1) == rows["y"]
    for _, what, name, n, value, low, high in table.rows[5:]:
        mask = rows[what] == (NAMES if what == "environment" else AGES).index(name)
        exact = clopper_pearson(int(right[mask].sum()), int(mask.sum()), 1 - 0.05 / (3 if what == "environment" else 2))
        assert (n, value, low, high) == (
            mask.sum(),
            pytest.approx(right[mask].mean()),
            pytest.approx(exact.low),
            pytest.approx(exact.high),
        )
    assert from_json(json.loads(json.dumps(to_json(table)))) == table


def test_a_matrix_shows_the_accuracy_of_every_label_in_every_group(bench: Any) -> None:
    rows = draw(4, 50)
    rows["y"][rows["group"] == 1] = 2  # so that two cells are empty
    rows["weight"] = np.random.default_rng(4).uniform(0.5, 2.0, size=50)
    result = bench.run(
        WorstGroup(), bench.split("selection", "selection", **draw(3, 9)), bench.split("test", "test", **rows)
    )
    _, matrix = result.artifacts
    assert isinstance(matrix, Matrix)
    assert (matrix.rows, matrix.columns) == (("a", "b", "c"), ("young", "old"))
    right = rows["outputs"].argmax(1) == rows["y"]
    for label in range(3):
        for group in range(2):
            cell = (rows["y"] == label) & (rows["group"] == group)
            wanted = np.average(right[cell], weights=rows["weight"][cell]) if cell.any() else math.nan
            assert matrix.values[label][group] == pytest.approx(wanted, nan_ok=True)
    assert np.isnan(matrix.values).sum() == 2


def test_no_matrix_of_a_regression_or_without_groups_or_too_large_to_read(bench: Any) -> None:
    y = np.arange(40)
    for split in (
        bench.split("test", "test", np.zeros((40, 1)), y.astype(float), group=y % 2),
        bench.split("test", "test", np.zeros((40, 2)), y % 2),
        bench.split("test", "test", np.zeros((40, 31)), y % 31, group=y % 2),
    ):
        assert [type(a) for a in bench.run(WorstGroup(), split).artifacts] == [Table]
