from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast.core.artifacts import Table
from holdfast.core.evaluation import Result
from holdfast.core.predictors import ModulePredictor
from holdfast.evaluations.cheap_repairs import CheapRepairs, _best_threshold, _Material
from holdfast.evaluations.scored import score


def gain(result: Result, where: str, repair: str, by: str = "environment") -> Any:
    (found,) = [m for m in result.measurements if m.metric == f"{where}-gain of {repair} by {by}"]
    return found


def table(result: Result) -> Table:
    (found,) = [a for a in result.artifacts if isinstance(a, Table)]
    return found


class Network(nn.Module):
    """Two inputs as they are, then a linear layer that looks at the second, the shortcut, alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
            self.head.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


def shortcut(bench: Any, n: int = 2000, seed: int = 0) -> Any:
    """The first input tells the label, the second does in the first environment and misleads in the rare second."""
    rng = np.random.default_rng(seed)
    y, environment = rng.integers(0, 2, size=n), (rng.random(n) < 0.1).astype(int)
    sign = 2 * y - 1
    x = np.stack([sign, np.where(environment == 1, -sign, sign)], axis=1) + rng.normal(size=(n, 2)) * [1.0, 0.4]
    return bench.split("test", "test", x.astype(np.float32), y, environment=environment)


def test_refitting_the_last_layer_takes_a_shortcut_away_and_says_what_it_costs(bench: Any) -> None:
    task = bench.task(shortcut(bench))
    predictor = ModulePredictor(Network(), task.kind, task.classes)
    result = CheapRepairs().evaluate(predictor, task, np.random.default_rng(0))
    assert gain(result, "worst-environment", "last-layer").low > 0.3
    assert gain(result, "average", "last-layer").high < 0
    readings = {(line[0], line[1]): line[-1] for line in table(result).rows}
    assert readings["last-layer", "worst environment"] == "gains"
    assert readings["last-layer", "average"] == "loses"
    rows = {(line[0], line[1]): line for line in table(result).rows}
    data = task.splits[0].data
    right = predictor.predict(data).logits.argmax(1) == data.labels
    assert rows["last-layer", "worst environment"][2] == pytest.approx(
        right[data.environment.codes == 1].double().mean()
    )


def test_what_the_model_does_not_say_no_recalibration_can_find(bench: Any) -> None:
    task = bench.task(shortcut(bench))
    predictor = ModulePredictor(Network(), task.kind, task.classes)
    result = CheapRepairs().evaluate(predictor, task, np.random.default_rng(0))
    assert gain(result, "average", "recalibration").high < 0.02
    last, own = (gain(result, "worst-environment", repair) for repair in ("last-layer", "own-thresholds"))
    assert own.value < last.value


def off_by_environment(bench: Any, seed: int, shift: float, n: int = 1500, **more: Any) -> Any:
    """Log-odds that are too low by a shift in the second environment."""
    rng = np.random.default_rng(seed)
    z, environment = 2 * rng.normal(size=n), np.arange(n) % 3 // 2
    y = (rng.random(n) < 1 / (1 + np.exp(-z - shift * environment))).astype(int)
    return bench.split("test", "test", np.stack([0 * z, z], axis=1), y, environment=environment, **more)


def test_thresholds_of_their_own_mend_a_shift_of_log_odds(bench: Any) -> None:
    result = bench.run(CheapRepairs(), off_by_environment(bench, 0, 3.0))
    assert gain(result, "worst-environment", "own-thresholds").low > 0.05
    assert gain(result, "average", "own-thresholds").low > 0.02


def test_where_nothing_is_wrong_no_gain_is_claimed(bench: Any) -> None:
    claims = 0
    for seed in range(25):
        result = bench.run(CheapRepairs(replicates=300), off_by_environment(bench, seed, 0.0, n=400))
        claims += any(line[-1] == "gains" for line in table(result).rows)
    assert claims <= 4


def test_what_is_fitted_is_not_measured_on_the_same_rows(bench: Any) -> None:
    """Labels that nothing tells, outputs of 30 numbers: fits to the measured rows would gain much."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 30))
    split = bench.split("test", "test", x, rng.integers(0, 30, size=300), environment=np.arange(300) % 2)
    result = bench.run(CheapRepairs(), split)
    assert gain(result, "average", "recalibration").value < 0.06


def test_numbers_get_an_offset_for_each_environment(bench: Any) -> None:
    rng = np.random.default_rng(1)
    y, environment = 50 + 10 * rng.normal(size=900), np.arange(900) % 3
    said = y + rng.normal(size=900) + np.array([0.0, 0.0, 4.0])[environment]
    split = bench.split("test", "test", said[:, None], y, environment=environment)
    result = bench.run(CheapRepairs(), split)
    found = gain(result, "worst-environment", "own-thresholds")
    assert found.value == pytest.approx(17**0.5 - 1, abs=0.2)
    assert found.low > 2.5
    assert not [m for m in result.measurements if "class" in m.metric]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=30))
def test_the_threshold_is_the_best_of_all(rows: list[tuple[int, int, int]]) -> None:
    odds, y, weight = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    material: Any = SimpleNamespace(outputs=np.stack([0 * odds, odds], axis=1), y=y, weight=weight)
    threshold = _best_threshold(material, np.ones(len(y), dtype=bool))
    candidates = np.arange(-4.25, 5, 0.5)
    right = {t: float(weight @ ((odds > t) == y)) for t in (*candidates, threshold, 0.0)}
    assert right[threshold] == pytest.approx(max(right.values()))
    if right[0.0] == max(right.values()):
        assert threshold == 0


def test_one_environment_without_groups_is_a_note(bench: Any) -> None:
    (only,) = bench.run(CheapRepairs(), bench.split("test", "test", np.eye(2)[[0, 1] * 20], [0, 1] * 20)).measurements
    assert math.isnan(only.value)
    assert "nothing to balance" in only.note


@pytest.mark.parametrize("numbers", [False, True])
def test_a_diverged_model_is_a_note(bench: Any, numbers: bool) -> None:
    x, y = np.full((60, 1 if numbers else 2), np.nan), np.arange(60) % 2 * (1.0 if numbers else 1)
    (only,) = bench.run(CheapRepairs(), bench.split("test", "test", x, y, environment=np.arange(60) % 2)).measurements
    assert "not a finite number" in only.note


@pytest.mark.parametrize("case", ["perfect", "constant", "group of three", "rare class", "one class", "zero weights"])
def test_odd_rows_claim_nothing(bench: Any, case: str) -> None:
    n = 200
    y, environment, weight = np.arange(n) // 2 % 3, np.arange(n) % 2, np.ones(n)
    x = np.random.default_rng(0).normal(size=(n, 3)) + np.eye(3)[y]
    if case == "perfect":
        x = 9 * np.eye(3)[y]
    elif case == "constant":
        x = np.zeros((n, 3))
    elif case == "group of three":
        environment = np.where(np.arange(n) < 3, 2, environment)
    elif case == "rare class":
        y = np.where(np.arange(n) == 7, 2, y % 2)
    elif case == "one class":
        y = np.zeros(n, dtype=int)
    else:
        weight = np.where(environment == 1, 0.0, 1.0)
    split = bench.split("test", "test", x, y, environment=environment, weight=weight)
    result = bench.run(CheapRepairs(replicates=200), split)
    assert result.measurements
    for artifact in result.artifacts:
        artifact.to_html()
    if case == "perfect":
        assert all(m.low is None or m.low <= 0 for m in result.measurements)
        assert all(m.value <= 0 for m in result.measurements)


def test_units_that_span_environments_stay_in_one_half(bench: Any) -> None:
    """Every unit has one label for both environments, which its outputs do not tell: a leak would gain much."""
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(100), 6)
    y = rng.integers(0, 2, size=100)[unit]
    marks = rng.normal(size=(100, 2))[unit]
    split = bench.split("test", "test", marks, y, environment=np.arange(600) % 2, unit=unit)
    result = bench.run(CheapRepairs(), split)
    found = gain(result, "average", "own-thresholds")
    assert "cluster" in found.interval
    assert found.low <= 0
    assert found.unit == "unit"


def test_equal_seeds_give_equal_results(bench: Any) -> None:
    split = off_by_environment(bench, 0, 1.0, n=300)
    assert bench.run(CheapRepairs(replicates=100), split) == bench.run(CheapRepairs(replicates=100), split)


def test_a_unit_is_in_one_half(bench: Any) -> None:
    n = 400
    rng = np.random.default_rng(0)
    unit = np.arange(n) // 8
    split = bench.split("test", "test", rng.normal(size=(n, 2)), rng.integers(0, 2, n), unit=unit)
    task = bench.task(split)
    predictor = ModulePredictor(nn.Identity(), task.kind, task.classes)
    rows, data = score(predictor, split), split.data
    material = _Material.of(rows, data, "environment", data.environment, predictor, task, rng)
    halves = [set(material.fold[unit == u].tolist()) for u in range(n // 8)]
    assert all(len(half) == 1 for half in halves)
    assert set.union(*halves) == {0, 1}
