from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from holdfast.statistics.recalibration import recalibration_slope


def said(n: int, classes: int, seed: int, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(z), and the log-probabilities of a model that says softmax(z / slope)."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.normal(size=(n, classes))
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    z = z / slope
    return y, z - np.logaddexp.reduce(z, axis=1, keepdims=True)


def test_two_classes_are_logistic_regression_on_the_log_odds() -> None:
    y, log_p = said(300, 2, 0)
    odds = (log_p[:, 1] - log_p[:, 0])[:, None]
    exact = LogisticRegression(C=np.inf, tol=1e-10, max_iter=500).fit(odds, y).coef_[0, 0]
    assert recalibration_slope(y, log_p, np.ones(300)).value[0] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(("classes", "slope"), [(2, 1.0), (2, 0.5), (4, 2.0)])
def test_intervals_hold_the_slope_as_often_as_they_say(classes: int, slope: float) -> None:
    hits = 0
    for seed in range(120):
        y, log_p = said(250, classes, seed, slope)
        effects = recalibration_slope(y, log_p, np.ones(250))
        hits += abs(effects.value[0] - slope) < effects.half_widths(0.9)[0]
    assert 0.81 < hits / 120 < 0.97


def test_a_constant_for_each_class_changes_nothing_and_absent_classes_are_left_out() -> None:
    y, log_p = said(200, 3, 1)
    shifted = log_p + np.array([1.0, -2.0, 0.3])
    ours, theirs = (recalibration_slope(y, p, np.ones(200)) for p in (log_p, shifted))
    assert ours.value[0] == pytest.approx(theirs.value[0], abs=1e-6)
    wider = np.column_stack([log_p, np.full(200, -np.inf)])
    assert recalibration_slope(y, wider, np.ones(200)).value[0] == pytest.approx(ours.value[0], abs=1e-6)


def test_weights_and_units_stand_for_copies() -> None:
    y, log_p = said(150, 3, 2)
    times = np.random.default_rng(3).integers(0, 3, size=150)
    rows = np.repeat(np.arange(150), times)
    weighted = recalibration_slope(y, log_p, times.astype(float), np.arange(150))
    copied = recalibration_slope(y[rows], log_p[rows], np.ones(len(rows)), rows)
    assert weighted.value[0] == pytest.approx(copied.value[0])
    assert weighted.error[0] == pytest.approx(copied.error[0])


@pytest.mark.parametrize("case", ["one class", "constant", "separated"])
def test_no_slope(case: str) -> None:
    y, log_p = said(100, 2, 4)
    if case == "one class":
        y = np.zeros_like(y)
    elif case == "constant":
        log_p = np.log(np.full((100, 2), 0.5))
    else:
        y = log_p.argmax(1)
    assert np.isnan(recalibration_slope(y, log_p, np.ones(100)).value[0])
