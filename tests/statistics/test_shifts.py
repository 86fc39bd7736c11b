from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from holdfast.statistics.association import area_between, by_unit, slopes
from holdfast.statistics.cross_fitting import conditional_means, ridge, unit_folds
from holdfast.statistics.shifts import (
    Sample,
    _logistic_rest,
    concept_shift,
    covariate_shift,
    label_shift,
    largest,
    pattern_shift,
)

TESTS = ("label", "covariate", "concept", "pattern")
SEEDS = 60


def draw(rng: np.random.Generator, shifts: str, *, numbers: bool, n: int = 500) -> tuple[np.ndarray, ...]:
    """Rows of which a third is of the environment; shifts of inputs are large and not linear."""
    x = rng.normal(size=(n, 3))
    tilt = x[:, 0] + np.abs(x[:, 1]) - 0.8 if "covariate" in shifts else 0.0
    member = rng.random(n) < 1 / (1 + np.exp(0.7 - tilt))
    f = x[:, 0] + 0.7 * x[:, 1] ** 2 - 0.7 + 0.9 * member * ("concept" in shifts)
    f = f + 1.6 * member * x[:, 2] * ("pattern" in shifts)
    y = f + rng.normal(size=n) if numbers else (rng.random(n) < 1 / (1 + np.exp(-f))).astype(float)
    kept = ~member | (y == 0) | (rng.random(n) < 0.35) if "frequencies" in shifts else np.ones(n, dtype=bool)
    return x[kept], y[kept], member[kept]


def p_values(seed: int, shifts: str, *, numbers: bool, copies: int = 1) -> dict[str, float]:
    rng = np.random.default_rng([seed, 7])
    x, y, member = (np.repeat(part, copies, axis=0) for part in draw(rng, shifts, numbers=numbers))
    unit = None if copies == 1 else np.repeat(np.arange(len(y) // copies), copies)
    fold = unit_folds(2 * member + (y > 0), unit, rng)
    sample = Sample(y[:, None], ("y",), np.ones(len(y)), unit, fold, 0.95)
    means = conditional_means(x, np.column_stack([y, member]), fold, sample.weight, rng)
    propensity = np.clip(means[:, 1], 0, 1)
    found = (
        label_shift(sample, member),
        covariate_shift(sample, member, propensity),
        concept_shift(sample, member, propensity, means[:, :1]),
        pattern_shift(sample, member, propensity, means[:, :1], x, logistic=not numbers),
    )
    return {name: finding.p_value for name, finding in zip(TESTS, found, strict=True)}


@pytest.fixture(autouse=True)
def _fewer_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.statistics.cross_fitting.TREES", 8)


@pytest.mark.parametrize(
    ("shifts", "numbers", "silent", "loud"),
    [
        ("", False, TESTS, ()),
        ("", True, TESTS, ()),
        ("covariate", False, ("concept", "pattern"), ("label", "covariate")),
        ("covariate", True, ("concept", "pattern"), ("label", "covariate")),
        ("frequencies", False, ("pattern",), ("label", "concept")),
        ("covariate frequencies", False, ("pattern",), ("covariate", "concept")),
        ("concept", False, ("covariate", "pattern"), ("concept",)),
        ("covariate concept", True, ("pattern",), ("covariate", "concept")),
        ("pattern", False, ("covariate",), ("pattern",)),
        ("covariate pattern", True, (), ("covariate", "pattern")),
    ],
)
def test_each_null_is_kept_and_each_alternative_found(
    shifts: str, numbers: bool, silent: tuple[str, ...], loud: tuple[str, ...]
) -> None:
    drawn = [p_values(seed, shifts, numbers=numbers) for seed in range(SEEDS)]
    rejected = {name: sum(p[name] < 0.05 for p in drawn) for name in TESTS}
    most = binom.ppf(0.999, SEEDS, 0.06)
    assert all(rejected[name] <= most for name in silent), rejected
    assert all(rejected[name] >= 0.6 * SEEDS for name in loud), rejected


def test_folds_that_learn_from_each_other_count_their_chance_agreement_once() -> None:
    rejected = 0
    for seed in range(400):
        rng = np.random.default_rng([seed, 8])
        x, member, fold = rng.normal(size=(150, 3)), rng.random(150) < 0.4, np.arange(150) % 2
        score = np.empty(150)
        for k in (0, 1):
            line = ridge(x[fold != k], member[fold != k, None].astype(float), np.ones(75))
            score[fold == k] = line(x[fold == k])[:, 0]
        sample = Sample(np.zeros((150, 1)), ("y",), np.ones(150), None, fold, 0.95)
        rejected += covariate_shift(sample, member, score).p_value < 0.05
    assert 2 <= rejected <= binom.ppf(0.999, 400, 0.03)


def test_copies_of_a_row_in_one_unit_are_no_further_evidence() -> None:
    drawn = [p_values(seed, "", numbers=False, copies=3) for seed in range(30)]
    for name in TESTS:
        assert sum(p[name] < 0.05 for p in drawn) <= binom.ppf(0.999, 30, 0.06), name


def test_slopes_on_an_indicator_are_a_difference_of_means_with_welch_errors() -> None:
    rng = np.random.default_rng(0)
    member, y = np.arange(90) < 30, rng.normal(size=90)
    y[member] *= 3
    effects = slopes((y - y.mean())[:, None], member - member.mean(), np.ones(90))
    here, there = y[member], y[~member]
    assert effects.value[0] == pytest.approx(here.mean() - there.mean())
    welch = (here.var() / 30 + there.var() / 60) ** 0.5
    n = effects.informative[0]
    assert effects.error[0] == pytest.approx(welch * (n / (n - 1)) ** 0.5)


def test_weights_stand_for_copies_and_zero_for_absence() -> None:
    rng = np.random.default_rng(1)
    y, d, w = rng.normal(size=(40, 2)), rng.normal(size=40), rng.integers(0, 4, size=40)
    unit, rows = np.arange(40), np.repeat(np.arange(40), w)
    weighted, copied = slopes(y, d, w.astype(float), unit), slopes(y[rows], d[rows], np.ones(len(rows)), unit[rows])
    np.testing.assert_allclose(weighted.value, copied.value)
    np.testing.assert_allclose(weighted.error, copied.error)
    member = d > 0
    area = area_between(y[:, 0], member, w.astype(float), unit)
    np.testing.assert_allclose(
        np.concatenate([area.value, area.error]),
        np.concatenate(
            [
                (again := area_between(y[rows, 0], member[rows], np.ones(len(rows)), unit[rows])).value,
                again.error,
            ]
        ),
    )


def test_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(2)
    score, member = rng.integers(0, 5, size=60).astype(float), rng.random(60) < 0.4
    pairs = np.subtract.outer(score[member], score[~member])
    area = area_between(score, member, np.ones(60))
    assert area.value[0] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert np.isnan(area_between(score, np.zeros(60, dtype=bool), np.ones(60)).value[0])


def test_a_class_that_an_environment_lacks_is_not_certain() -> None:
    member, rare = np.arange(1000) < 100, np.arange(1000) >= 985  # 1.7 expected in the environment, none seen
    effects = slopes((rare - rare.mean())[:, None], member - member.mean(), np.ones(1000))
    assert effects.p_values()[0] > 0.1


def test_no_test_without_rows_or_overlap() -> None:
    y, member = np.arange(200.0)[:, None] % 7, np.arange(200) < 12
    sample = Sample(y, ("y",), np.ones(200), None, np.arange(200) % 2, 0.95)
    assert label_shift(sample, member).note == "too few informative rows"
    half = np.arange(200) < 100
    apart = concept_shift(sample, half, half.astype(float), y)
    assert "like elsewhere" in apart.note
    assert np.isnan(apart.p_value)


def test_the_largest_of_several_pays_for_the_choice() -> None:
    effects = slopes(
        np.random.default_rng(3).normal(size=(100, 4)), np.where(np.arange(100) % 2, 1.0, -1.0), np.ones(100)
    )
    found = largest(effects, tuple("abcd"), 0.95)
    assert found.p_value == pytest.approx(min(1, 4 * effects.p_values().min()))
    assert found.about == "abcd"[int(effects.p_values().argmin())]


def test_folds_keep_units_whole_and_strata_even() -> None:
    rng = np.random.default_rng(4)
    unit = rng.integers(0, 60, size=300)
    strata = unit % 3
    fold = unit_folds(strata, unit, rng, folds=3)
    pairs = np.unique(np.column_stack([unit, fold]), axis=0)
    assert len(pairs) == len(np.unique(unit))
    tally = np.array([[((pairs[:, 0] % 3 == s) & (pairs[:, 1] == k)).sum() for k in range(3)] for s in range(3)])
    assert (np.ptp(tally, axis=1) <= 1).all()


def test_ridge_without_penalty_is_weighted_least_squares() -> None:
    rng = np.random.default_rng(5)
    x, y, w = rng.normal(size=(50, 3)), rng.normal(size=(50, 2)), rng.uniform(0, 2, size=50)
    design = np.column_stack([np.ones(50), x])
    exact = np.linalg.solve(design.T @ (design * w[:, None]), design.T @ (y * w[:, None]))
    np.testing.assert_allclose(ridge(x, y, w, 0.0)(x), design @ exact, atol=1e-8)


def test_a_row_does_not_see_its_own_label() -> None:
    rng = np.random.default_rng(6)
    x, y, fold = rng.normal(size=(60, 2)), rng.normal(size=(60, 1)), np.arange(60) % 2
    first = conditional_means(x, y, fold, np.ones(60), np.random.default_rng(0))
    changed = np.where(fold[:, None] == 0, y + 100, y)
    again = conditional_means(x, changed, fold, np.ones(60), np.random.default_rng(0))
    np.testing.assert_array_equal(first[fold == 0], again[fold == 0])
    assert (np.abs(first - again)[fold == 1] > 50).all()


def test_sums_by_unit() -> None:
    values = np.random.default_rng(7).normal(size=(30, 2))
    unit = np.arange(30) % 4
    np.testing.assert_allclose(by_unit(values, unit), [values[unit == u].sum(0) for u in range(4)])


@pytest.mark.parametrize("constant", [-1.5, 0.0, 2.0])
def test_a_constant_of_the_log_odds_leaves_no_residual(constant: float) -> None:
    rng = np.random.default_rng(0)
    n = 4000
    logit, p = rng.normal(size=n), rng.uniform(0.2, 0.8, n)
    member = (rng.random(n) < p).astype(float)
    here, elsewhere = (1 / (1 + np.exp(-(logit + shift))) for shift in (constant, 0.0))
    y = (rng.random(n) < np.where(member == 1, here, elsewhere)).astype(float)
    residual, share, _ = _logistic_rest(y, p * here + (1 - p) * elsewhere, member, p, np.ones(n))
    assert abs(np.mean(residual * (member - share))) < 1e-4  # what the constant solves
    for of in (member == 1, member == 0):
        assert abs(residual[of].mean()) < 4 * 0.5 / np.sqrt(of.sum())
