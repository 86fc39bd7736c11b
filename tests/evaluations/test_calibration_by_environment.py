from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from holdfast.core.artifacts import Curve, Table
from holdfast.evaluations.calibration_by_environment import CalibrationByEnvironment


def two_classes(bench: Any, n: int, seed: int = 0, *, slope: float = 1.0, shift: float = 0.0, **more: Any) -> Any:
    """A model that is right in the first environment, and off by a slope and a shift of log-odds in the second."""
    rng = np.random.default_rng(seed)
    z, environment = 1.5 * rng.normal(size=n), np.arange(n) % 2
    truth = np.where(environment == 1, slope * z + shift, z)
    y = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(int)
    return bench.split("test", "test", np.stack([0 * z, z], axis=1), y, environment=environment, **more)


def test_faults_are_found_where_they_are(bench: Any, pick: Any) -> None:
    result = bench.run(CalibrationByEnvironment(), two_classes(bench, 6000, slope=0.5, shift=-0.7))
    fine = {
        m: pick(result, metric=m, environment="north") for m in ("confidence-gap", "share-gap", "calibration-slope")
    }
    off = {m: pick(result, metric=m, environment="south") for m in fine}
    for name, ideal in (("confidence-gap", 0), ("share-gap", 0), ("calibration-slope", 1)):
        assert fine[name].low < ideal < fine[name].high
    assert off["calibration-slope"].high < 0.7
    assert off["calibration-slope"].value == pytest.approx(0.5, abs=0.08)
    assert off["share-gap"].low > 0.05
    assert off["confidence-gap"].low > 0.03


def test_intervals_hold_together(bench: Any) -> None:
    missed = 0
    for seed in range(100):
        result = bench.run(CalibrationByEnvironment(level=0.8), two_classes(bench, 300, seed))
        gaps = [m for m in result.measurements if m.metric == "share-gap"]
        missed += any(not m.low < 0 < m.high for m in gaps)
    assert 8 <= missed <= 33


def test_gaps_are_weighted_means(bench: Any, pick: Any) -> None:
    weight = np.random.default_rng(1).integers(0, 3, size=80).astype(float)
    split = two_classes(bench, 80, weight=weight, unit=np.arange(80) // 4)
    result = bench.run(CalibrationByEnvironment(), split)
    p, y = split.data.x.softmax(1)[:, 1].numpy(), split.data.labels.numpy()
    here = np.arange(80) % 2 == 1
    found = pick(result, metric="share-gap", environment="south")
    assert found.value == pytest.approx(np.average((p - y)[here], weights=weight[here]))
    assert found.unit == "unit"
    assert found.n == (weight[here] > 0).sum()


def test_numbers_have_bias_and_spread(bench: Any, pick: Any) -> None:
    rng = np.random.default_rng(2)
    y, environment = rng.normal(size=3000), np.arange(3000) % 3
    said = y + np.array([0.0, 0.5, 0.0])[environment] + np.array([1.0, 1.0, 3.0])[environment] * rng.normal(size=3000)
    result = bench.run(
        CalibrationByEnvironment(), bench.split("test", "test", said[:, None], y, environment=environment)
    )
    bias = {e: pick(result, metric="bias", environment=e) for e in ("north", "south", "east")}
    assert bias["south"].low > 0.3
    assert bias["north"].low < 0 < bias["north"].high
    spread = pick(result, metric="residual-spread", environment="east")
    assert spread.low < 3 < spread.high
    residual = (said - y)[environment == 2]
    assert spread.value == pytest.approx(residual.std())
    curve = next(a for a in result.artifacts if isinstance(a, Curve))
    assert len(curve.series["north"][0]) == 5


@pytest.mark.parametrize("numbers", [False, True])
def test_a_diverged_model_has_notes_and_no_numbers(bench: Any, numbers: bool) -> None:
    y = np.arange(40) % 2 * (1.0 if numbers else 1)
    x = np.full((40, 1 if numbers else 2), np.nan)
    result = bench.run(CalibrationByEnvironment(), bench.split("test", "test", x, y, environment=np.arange(40) % 2))
    assert all(math.isnan(m.value) and "not a finite number" in m.note for m in result.measurements)
    for artifact in result.artifacts:
        artifact.to_html()


def test_a_perfect_model_and_a_group_of_three_rows_have_no_interval(bench: Any, pick: Any) -> None:
    y, environment = np.arange(103) % 2, np.where(np.arange(103) < 3, 1, 0)
    x = 60.0 * np.eye(2)[y]
    result = bench.run(CalibrationByEnvironment(), bench.split("test", "test", x, y, environment=environment))
    for name in ("north", "south"):
        assert math.isnan(pick(result, metric="calibration-slope", environment=name).value)
    assert pick(result, metric="share-gap", environment="south").low is None
    table = next(a for a in result.artifacts if isinstance(a, Table))
    assert [line[:2] for line in table.rows] == [("north", 100), ("south", 3)]
