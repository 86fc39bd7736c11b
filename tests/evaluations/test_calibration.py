from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.core.artifacts import Curve
from holdfast.evaluations.calibration import Calibration


def split(bench: Any, n: int, seed: int = 0, **more: Any) -> Any:
    """Two classes, labels drawn with the probabilities that the model says."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) * 2
    y = rng.random(n) < 1 / (1 + np.exp(-z))
    return bench.split("test", "test", np.stack([0 * z, z], axis=1), y.astype(int), **more)


def curve(bench: Any, made: Any) -> Curve:
    (found,) = bench.run(Calibration(), made).artifacts
    assert isinstance(found, Curve)
    return found


def test_points_of_a_calibrated_model_lie_on_the_diagonal(bench: Any) -> None:
    confidence, accuracy = map(np.array, curve(bench, split(bench, 20_000)).series["all rows"])
    assert len(confidence) == 15
    assert (np.diff(confidence) > 0).all()
    error = (confidence * (1 - confidence) / (20_000 / 15)) ** 0.5
    assert (np.abs(accuracy - confidence) < 4 * error).all()


@pytest.mark.parametrize(("n", "points"), [(30, 1), (99, 1), (100, 2), (749, 14), (1000, 15)])
def test_points_hold_fifty_rows_or_more(bench: Any, n: int, points: int) -> None:
    assert len(curve(bench, split(bench, n)).series["all rows"][0]) == points


def test_points_are_weighted_means(bench: Any) -> None:
    rng = np.random.default_rng(3)
    weight = np.where(rng.random(40) < 0.3, 0.0, rng.uniform(0.1, 2, size=40))
    made = split(bench, 40, weight=weight)
    ((confidence,), (accuracy,)) = curve(bench, made).series["all rows"]
    p = made.data.x.softmax(1).numpy()
    assert confidence == pytest.approx(np.average(p.max(1), weights=weight))
    assert accuracy == pytest.approx(np.average(p.argmax(1) == made.data.labels.numpy(), weights=weight))


def test_environments_are_drawn_where_there_are_several(bench: Any) -> None:
    several = curve(bench, split(bench, 300, environment=np.arange(300) % 2))
    assert list(several.series) == ["perfect", "all rows", "north", "south"]
    one = curve(bench, split(bench, 300, environment=np.where(np.arange(300) < 9, -1, 2)))
    assert list(one.series) == ["perfect", "all rows"]
