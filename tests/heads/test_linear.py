"""Linear heads against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from holdfast.heads.linear import Head, fit_classes, fit_numbers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
WEIGHT = RNG.uniform(0.5, 2, size=60)


def labels(*classes: int) -> np.ndarray:
    scores = X @ RNG.normal(size=(4, len(classes))) + RNG.normal(size=(60, len(classes)))
    return np.array(classes)[scores.argmax(axis=1)]


def test_two_classes_are_l1_logistic_regression() -> None:
    y = labels(0, 1)
    oracle = LogisticRegression(C=0.2, l1_ratio=1.0, solver="liblinear", random_state=0).fit(X, y, WEIGHT)
    head = fit_classes(X, y, WEIGHT, classes=2, C=0.2)
    np.testing.assert_allclose(softmax(head(X), axis=1), oracle.predict_proba(X), rtol=1e-6)
    assert (fit_classes(X, y, WEIGHT, classes=2, C=0.02).coef == 0).sum() >= 4


def test_more_classes_are_multinomial_with_l2() -> None:
    """At the minimum the gradient of C Σ w loss + ½‖coef‖² vanishes."""
    y, C = labels(0, 1, 2), 0.2
    head = fit_classes(X, y, WEIGHT, classes=3, C=C)
    residual = WEIGHT[:, None] * (softmax(head(X), axis=1) - np.eye(3)[y])
    np.testing.assert_allclose(C * residual.T @ X + head.coef, 0, atol=5e-3)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=2e-2)


@pytest.mark.parametrize("present", [(0, 3), (0, 2, 4), (1,)])
def test_absent_classes_have_a_small_probability(present: tuple[int, ...]) -> None:
    y = labels(*present) if len(present) > 1 else np.full(60, 1)
    head = fit_classes(X, y, WEIGHT, classes=5, C=0.2)
    absent = np.setdiff1d(np.arange(5), present)
    assert (head.coef[absent] == 0).all()
    logits = head(np.zeros((1, 4)))[0]
    against_present = np.exp(logits[absent]) / (np.exp(logits[absent]) + np.exp(logits[list(present)]).sum())
    np.testing.assert_allclose(against_present, 1 / 61)
    inside = fit_classes(X, np.searchsorted(present, y), WEIGHT, classes=len(present), C=0.2)
    np.testing.assert_allclose(head(X)[:, list(present)], inside(X), atol=1e-6)


def test_numbers_are_ridge() -> None:
    y, C = X @ [1.0, -2.0, 0.0, 0.5] + 3 + RNG.normal(size=60), 0.2
    head = fit_numbers(X, y, WEIGHT, C=C)
    residual = WEIGHT * (head(X)[:, 0] - y)
    np.testing.assert_allclose(C * X.T @ residual + head.coef[0], 0, atol=1e-8)
    assert residual.sum() == pytest.approx(0, abs=1e-8)


def test_without_an_intercept_it_is_zero() -> None:
    for y, classes in ((labels(0, 1), 2), (labels(0, 1, 2), 4)):
        assert (fit_classes(X, y, WEIGHT, classes=classes, C=1, intercept=False).intercept == 0).all()
    assert fit_numbers(X, X[:, 0] + 5, WEIGHT, C=1, intercept=False).intercept == 0


def test_scaling_is_folded_in_and_heads_are_averaged() -> None:
    heads = [Head(RNG.normal(size=(3, 4)), RNG.normal(size=3)) for _ in range(4)]
    mean, scale = RNG.normal(size=4), RNG.uniform(0.1, 3, size=4)
    np.testing.assert_allclose(heads[0].after(mean, scale)(X), heads[0]((X - mean) / scale))
    np.testing.assert_allclose(Head.mean(heads)(X), np.mean([head(X) for head in heads], axis=0))
