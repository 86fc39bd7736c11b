from __future__ import annotations

import numpy as np
import pytest

from holdfast.statistics.calibration import _equal_mass_bins, calibration_error, squared_calibration_error


def simulate(rng: np.random.Generator, n: int, gap: float = 0.0):
    """Two classes; the predicted class is right with probability confidence − gap."""
    confidence = rng.uniform(0.6, 0.95, n)
    y = (rng.random(n) < confidence - gap).astype(int)
    return y, np.log(np.stack([1 - confidence, confidence], axis=1))


def plain(y, log_p, bins=15):
    """The calibration error as usually printed, with equal mass and absolute gaps; and the mean of squared gaps."""
    confidence, gap = np.exp(log_p.max(1)), (log_p.argmax(1) == y) - np.exp(log_p.max(1))
    parts = np.array_split(gap[np.argsort(confidence)], bins)
    means, mass = np.array([p.mean() for p in parts]), np.array([len(p) for p in parts]) / len(y)
    return (mass * np.abs(means)).sum(), (mass * means**2).sum()


def within_noise(values, truth):
    return abs(np.mean(values) - truth) < 3 * np.std(values) / len(values) ** 0.5


def test_a_calibrated_model_looks_so_where_the_plain_estimate_does_not():
    rng = np.random.default_rng(0)
    runs = [simulate(rng, 600) for _ in range(300)]
    squares = [squared_calibration_error(y, s, np.ones(600)) for y, s in runs]
    errors = np.array([calibration_error(y, s, np.ones(600)) for y, s in runs])
    plain_errors, plain_squares = np.array([plain(y, s) for y, s in runs]).T
    assert within_noise(squares, 0)
    assert plain_squares.mean() > 20 * plain_squares.std() / 300**0.5
    assert plain_errors.mean() > 0.045
    assert errors.mean() < 0.4 * plain_errors.mean()
    assert (errors == 0).mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("n", [60, 600])
def test_a_known_gap_is_estimated_without_bias(n):
    rng = np.random.default_rng(n)
    squares = [squared_calibration_error(*simulate(rng, n, gap=0.1), np.ones(n)) for _ in range(400)]
    assert within_noise(squares, 0.01)
    assert np.std(squares) / 20 < 0.0012


def test_unequal_weights_leave_it_unbiased():
    rng = np.random.default_rng(5)
    runs = [(*simulate(rng, 300, gap=0.1), rng.exponential(size=300)) for _ in range(400)]
    assert within_noise([squared_calibration_error(*run) for run in runs], 0.01)


def test_matches_the_published_formula_for_constant_confidences():
    rng = np.random.default_rng(1)
    level = rng.permutation(np.repeat([0.6, 0.7, 0.9], 50))
    y = (rng.random(150) < 0.7).astype(int)
    wanted = 0.0
    for c in (0.6, 0.7, 0.9):
        rate = y[level == c].mean()
        wanted += ((rate - c) ** 2 - rate * (1 - rate) / (50 - 1)) / 3  # Kumar et al. 2019, arXiv:1909.10155
    got = squared_calibration_error(y, np.log(np.stack([1 - level, level], axis=1)), np.ones(150))
    assert got == pytest.approx(wanted, abs=1e-12)


def test_a_row_of_weight_two_is_not_two_independent_rows():
    y, log_p = simulate(np.random.default_rng(2), 200, gap=0.05)
    one = squared_calibration_error(y, log_p, np.ones(200))
    assert squared_calibration_error(y, log_p, 2 * np.ones(200)) == pytest.approx(one)
    twice = squared_calibration_error(np.repeat(y, 2), np.repeat(log_p, 2, axis=0), np.ones(400))
    assert twice > one  # a copy hides half of the noise that there is


def test_bins_have_equal_mass_and_never_split_equal_values():
    rng = np.random.default_rng(3)
    assert np.bincount(_equal_mass_bins(rng.permutation(100.0 * np.arange(100)), np.ones(100))).tolist() == [10] * 10
    assert len(np.bincount(_equal_mass_bins(rng.random(10**4), np.ones(10**4)))) == 15
    tied = np.repeat([0.5, 0.6, 0.7], [40, 5, 105])
    bins = _equal_mass_bins(tied, np.ones(150))
    assert [len(set(bins[tied == v])) for v in (0.5, 0.6, 0.7)] == [1, 1, 1]
    heavy = np.where(np.arange(200) < 100, 3.0, 1.0)
    masses = np.bincount(_equal_mass_bins(np.arange(200.0), heavy), heavy)
    np.testing.assert_allclose(masses, masses.sum() / 15, atol=3)


def test_one_row_says_nothing():
    assert calibration_error(np.array([0]), np.log([[0.7, 0.3]]), np.ones(1)) == 0
