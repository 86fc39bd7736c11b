"""Reliance on factors: hand-made predictors, brute force, scikit-learn, invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from holdfast.statistics.interventions import (
    Following,
    accuracy_reliance,
    area_alone,
    area_reliance,
    balanced,
    counterfactual_accuracy,
    expected_accuracy,
    expected_area,
    flip_rates,
    largest_effect,
    mean_effect,
    ratio_of_means,
    value_shares,
)


class Drawn:
    """Random probabilities of 3 classes on 12 rows, as they are and under 4 values."""

    def __init__(self, seed: int, classes: int = 3, rows: int = 12, values: int = 4) -> None:
        rng = np.random.default_rng(seed)
        self.values = rng.integers(values, size=rows)
        self.y = rng.permutation(np.arange(rows) % classes)
        self.changed = rng.dirichlet(np.ones(classes), size=(values, rows))
        self.own = self.changed[self.values, np.arange(rows)]
        self.weights = rng.uniform(0.5, 2, size=rows)
        self.tied, self.free = value_shares(self.values, self.y, self.weights, classes, values)


@pytest.mark.parametrize("seed", range(3))
def test_effects_and_flips_against_loops(seed: int) -> None:
    d = Drawn(seed)
    effects, largest, flips, kept, moved = [], [], [], [], []
    for i, own in enumerate(d.own):
        others = [v for v in range(4) if v != d.values[i]]
        effects.append(np.mean([max(sum(d.changed[v, i, c] - own[c] for c in some)
                                    for k in range(4) for some in itertools.combinations(range(3), k))
                                for v in others]))  # fmt: skip
        largest.append(max(0.5 * sum(abs(p - q) for p, q in zip(said, own, strict=True)) for said in d.changed[:, i]))
        flips.append(np.mean([np.argmax(d.changed[v, i]) != np.argmax(own) for v in others]))
        kept.append(np.mean([np.argmax(d.changed[v, i]) == d.y[i] for v in others]))
        moved.append(np.mean([np.argmax(d.changed[v, i]) == v % 3 for v in others]))
    assert mean_effect(d.own, d.changed, d.values) == pytest.approx(effects)
    assert largest_effect(d.own, d.changed) == pytest.approx(largest)
    assert flip_rates(d.own, d.changed, d.values) == pytest.approx(flips)
    assert counterfactual_accuracy(d.changed, d.y, d.values) == pytest.approx(kept)
    follows = np.broadcast_to(np.arange(4)[:, None] % 3, (4, 12))
    assert counterfactual_accuracy(d.changed, follows, d.values) == pytest.approx(moved)


def test_a_factor_without_another_value_has_no_effect_to_speak_of() -> None:
    own = np.array([[0.4, 0.6]])
    assert np.isnan(mean_effect(own, own[None], np.zeros(1, dtype=int))).all()


@pytest.mark.parametrize("seed", range(3))
def test_randomised_numbers_are_the_mean_over_draws(seed: int) -> None:
    d = Drawn(seed, rows=300)
    rng = np.random.default_rng(seed)
    log_p = np.log(d.changed)
    accuracies, areas = [], []
    for _ in range(400):
        drawn = rng.choice(4, p=d.free, size=300)
        said = d.changed[drawn, np.arange(300)]
        accuracies.append(np.mean(said.argmax(axis=1) == d.y))
        areas.append(np.mean([roc_auc_score(d.y == c, said[:, c]) for c in range(3)]))
    free = d.free[:, None]
    assert expected_accuracy(d.changed, d.y, free).mean() == pytest.approx(np.mean(accuracies), abs=0.005)
    assert expected_area(log_p, d.y, free, np.ones(300)) == pytest.approx(np.mean(areas), abs=0.005)


def test_what_a_factor_gives_alone_is_the_mean_over_draws_of_it() -> None:
    d, rng = Drawn(1, rows=300), np.random.default_rng(0)
    found = area_alone(np.log(d.changed), d.y, d.tied, np.ones(300), np.arange(300), rng)
    areas = []
    for _ in range(400):
        drawn = [rng.choice(4, p=d.tied[label]) for label in d.y]
        said = d.changed[drawn, np.arange(300)]
        areas.append(np.mean([roc_auc_score(d.y == c, said[:, c]) for c in range(3)]))
    assert found.value == pytest.approx(np.mean(areas), abs=0.005)
    assert 0.005 < found.error < 0.05


@pytest.mark.parametrize("classes", [2, 3])
def test_expected_area_against_scikit_learn(classes: int) -> None:
    d = Drawn(7, classes=classes, rows=40)
    log_p, shares = np.log(d.changed), d.tied[d.y].T
    weight = (shares * d.weights).reshape(-1)
    y = np.tile(d.y, 4)
    flat = log_p.reshape(-1, classes)
    if classes == 2:
        wanted = roc_auc_score(y, flat[:, 1] - flat[:, 0], sample_weight=weight)
    else:
        wanted = np.mean([roc_auc_score(y == c, flat[:, c], sample_weight=weight) for c in range(classes)])
    assert expected_area(log_p, d.y, shares, d.weights) == pytest.approx(wanted, abs=1e-12)


def one_hot(classes: np.ndarray, count: int = 3) -> np.ndarray:
    return np.eye(count)[classes]


def test_reliance_of_a_reader_is_one_and_of_a_blind_model_zero() -> None:
    """Whatever the frequencies of classes and values, and with two values that go with one class."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, size=200, p=[0.6, 0.3, 0.1])
    goes_with = np.array([0, 1, 2, 2])
    values = np.where(rng.random(200) < 0.7, y, rng.integers(4, size=200))
    tied, free = value_shares(values, y, np.ones(200), 3, 4)
    arguments = (y, tied, free, rng.uniform(size=200), np.arange(200))
    reader = one_hot(np.broadcast_to(goes_with[:, None], (4, 200)))
    blind = one_hot(np.broadcast_to(y, (4, 200)))
    assert accuracy_reliance(reader, *arguments)[1].value == pytest.approx(1, abs=1e-12)
    assert accuracy_reliance(blind, *arguments)[1].value == pytest.approx(0, abs=1e-12)
    with np.errstate(divide="ignore"):
        area, reliance = area_reliance(np.log(np.maximum(reader, 1e-9)), *arguments, np.random.default_rng(1), 20)
        kept, none = area_reliance(np.log(np.maximum(blind, 1e-9)), *arguments, np.random.default_rng(1), 20)
    assert (area.value, reliance.value) == (pytest.approx(0.5), pytest.approx(1))
    assert (kept.value, none.value) == (pytest.approx(1), pytest.approx(0))


@pytest.mark.parametrize("seed", range(3))
def test_reliance_against_loops(seed: int) -> None:
    d = Drawn(seed, rows=30)

    def balanced_accuracy(shares: list[np.ndarray]) -> float:
        right = [sum(s[v] * (d.changed[v, i].argmax() == d.y[i]) for v in range(4)) for i, s in enumerate(shares)]
        return float(np.mean([np.average(np.array(right)[d.y == c], weights=d.weights[d.y == c]) for c in range(3)]))

    m, randomised = balanced_accuracy([d.tied[c] for c in d.y]), balanced_accuracy([d.free] * 30)
    beyond, reliance = accuracy_reliance(d.changed, d.y, d.tied, d.free, d.weights, np.arange(30))
    assert beyond.value == pytest.approx(m - 1 / 3)
    assert reliance.value == pytest.approx((m - randomised) / (m - 1 / 3))


def test_numbers_do_not_depend_on_the_order_of_rows_or_values() -> None:
    d = Drawn(3, rows=60)
    rows, renamed = np.random.default_rng(0).permutation(60), np.array([2, 0, 3, 1])
    changed = np.empty_like(d.changed)
    changed[renamed] = d.changed
    values = renamed[d.values][rows]
    changed, own, y, weights = changed[:, rows], d.own[rows], d.y[rows], d.weights[rows]
    assert mean_effect(own, changed, values) == pytest.approx(mean_effect(d.own, d.changed, d.values)[rows])
    tied, free = value_shares(values, y, weights, 3, 4)
    unit = np.arange(60)
    one, other = (
        accuracy_reliance(d.changed, d.y, d.tied, d.free, d.weights, unit)[1],
        accuracy_reliance(changed, y, tied, free, weights, unit)[1],
    )
    assert (one.value, one.error) == (pytest.approx(other.value), pytest.approx(other.error))
    assert expected_area(np.log(changed), y, free[:, None], weights) == pytest.approx(
        float(expected_area(np.log(d.changed), d.y, d.free[:, None], d.weights))
    )


def test_shares_of_values_by_class() -> None:
    tied, free = value_shares(np.array([0, 2, 2]), np.array([0, 0, 2]), np.array([1.0, 3.0, 4.0]), 3, 3)
    assert tied.tolist() == [[0.25, 0, 0.75], [0.125, 0, 0.875], [0, 0, 1]]  # class 1 has no row
    assert free.tolist() == [0.125, 0, 0.875]


def test_balanced_weights_give_each_class_the_same() -> None:
    weights = balanced(np.array([0, 0, 2]), np.array([1.0, 3.0, 5.0]))
    assert weights.tolist() == [0.125, 0.375, 0.5]


def test_following_leaves_out_values_that_go_with_nothing() -> None:
    found = Following.of(np.array([1, 0, 2, 1]), np.array([0, 0, 0, 1]), np.array([1, 1, 1, -1]))
    assert found.conflicting.tolist() == [True, True, True, False]
    assert found.follow_rate(np.ones(4)) == pytest.approx(1 / 3)
    assert found.preference(np.ones(4)) == pytest.approx(1 / 2)
    assert found.preference(np.array([3.0, 1, 1, 1])) == pytest.approx(3 / 4)
    assert np.isnan(found.follow_rate(np.array([0, 0, 0, 1.0])))


def test_error_of_a_quotient_is_what_repetitions_show() -> None:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        common = np.repeat(rng.normal(size=100), 2)  # two rows of a unit share half of what they are
        drawn.append(ratio_of_means(2 + common, 3 + common + rng.normal(size=200), np.ones(200), np.arange(200) // 2))
    assert np.mean([q.value for q in drawn]) == pytest.approx(2 / 3, abs=0.01)
    assert np.mean([q.error for q in drawn]) == pytest.approx(np.std([q.value for q in drawn]), rel=0.1)
    assert drawn[0].units == 100
    assert np.isnan(ratio_of_means(np.ones(2), np.zeros(2), np.ones(2), np.arange(2)).value)
