"""Linear heads fitted with scikit-learn: from features (N, F) to outputs (N, K)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """Outputs x coefᵀ + intercept.

    Attributes:
        coef: (K, F).
        intercept: (K,).
    """

    coef: Array
    intercept: Array

    def __call__(self, x: Array) -> Array:
        """(N, F) features to (N, K) outputs."""
        return np.asarray(x @ self.coef.T + self.intercept)

    def after(self, mean: Array, scale: Array) -> Head:
        """The head that does to x what this one does to (x − mean) / scale, both (F,)."""
        coef = self.coef / scale
        return Head(coef, self.intercept - coef @ mean)

    @staticmethod
    def mean(heads: Sequence[Head]) -> Head:
        """The head whose outputs are the mean of the outputs of these."""
        return Head(np.mean([h.coef for h in heads], axis=0), np.mean([h.intercept for h in heads], axis=0))


def fit_classes(
    x: Array, y: Codes, weight: Array, *, classes: int, C: float, intercept: bool = True, seed: int = 0
) -> Head:
    """Logits of penalised logistic regression, one column per class of the task.

    Two classes are fitted with an L1 penalty by liblinear, as in deep feature reweighting; more with an L2 penalty by
    L-BFGS, because liblinear takes two and an L1 fit by SAGA needs over ten times as long without being better on the
    colored digits. A class without rows has no coefficients and, at a row of average features, the probability
    1 / (N + 1) against all others.

    Args:
        x: (N, F) features, centred and scaled.
        y: (N,) class codes below ``classes``.
        weight: (N,) factors of the rows' losses.
        classes: K.
        C: Factor of the loss against the penalty.
        intercept: Whether there is one.
        seed: Of the order in which liblinear visits coordinates.
    """
    from sklearn.linear_model import LogisticRegression

    present = np.unique(y)
    coef, bias = np.zeros((classes, x.shape[1])), np.zeros(classes)
    if len(present) == 2:
        model = LogisticRegression(
            C=C, l1_ratio=1.0, solver="liblinear", fit_intercept=intercept, max_iter=1000, random_state=seed
        ).fit(x, y, weight)
        halves = np.array([[-0.5], [0.5]])
        coef[present], bias[present] = halves * model.coef_, (halves * model.intercept_).squeeze(1)
    elif len(present) > 2:
        model = LogisticRegression(C=C, fit_intercept=intercept, max_iter=1000).fit(x, y, weight)
        coef[present], bias[present] = model.coef_, model.intercept_
    if intercept:
        absent = np.setdiff1d(np.arange(classes), present)
        bias[absent] = np.logaddexp.reduce(bias[present]) - np.log(len(y))
    return Head(coef, bias)


def fit_numbers(x: Array, y: Array, weight: Array, *, C: float, intercept: bool = True) -> Head:
    """Ridge regression with α = 1/C: one output.

    Args:
        x: (N, F) features, centred and scaled.
        y: (N,) targets.
        weight: (N,) factors of the rows' losses.
        C: Factor of the loss against the penalty.
        intercept: Whether there is one.
    """
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1 / C, fit_intercept=intercept).fit(x, y, weight)
    return Head(model.coef_[None, :], np.full(1, model.intercept_, dtype=np.float64))
