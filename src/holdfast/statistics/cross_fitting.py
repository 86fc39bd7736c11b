"""Predictions of rows by models that have not seen them, nor another row of their unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.statistics.means import Array
from holdfast.statistics.resampling import unit_index

TREES = 30
LEAST_LEAF = 10
PENALTY = 1e-3
KNOTS = (0.1, 0.3, 0.5, 0.7, 0.9)


def unit_folds(
    strata: ArrayLike, units: ArrayLike | None, rng: np.random.Generator, folds: int = 2
) -> NDArray[np.intp]:
    """Deal units into folds (N,) at random, each stratum evenly.

    Args:
        strata: Integer code (N,) of each row; a unit counts as of its first row's stratum.
        units: Unit id (N,) of each row; rows of a unit share a fold. None: each row is a unit.
        rng: Decides which unit goes where.
        folds: How many.

    >>> unit_folds([0, 0, 0, 0, 1, 1], [7, 7, 8, 8, 9, 9], np.random.default_rng(0)).tolist()
    [1, 1, 0, 0, 0, 0]
    """
    codes = np.asarray(strata)
    index = unit_index(len(codes), units)
    _, first = np.unique(index, return_index=True)
    order = np.lexsort((rng.random(len(first)), codes[first]))
    fold_of_unit = np.empty(len(first), dtype=np.intp)
    fold_of_unit[order] = (np.arange(len(first)) + rng.integers(folds)) % folds
    return fold_of_unit[index]


def conditional_means(
    x: Array, targets: Array, fold: NDArray[np.intp], weights: Array, rng: np.random.Generator
) -> Array:
    """Estimates (N, T) of E[target | x] for each row, from the rows of the other folds.

    A ridge regression of all targets together on piecewise linear functions of each input, plus extremely randomised
    trees on what it leaves (P. Geurts, D. Ernst, L. Wehenkel, *Extremely randomized trees*, 2006): what the inputs do
    one by one is met closely, what they do together approximately, and the cost hardly depends on T.

    Args:
        x: (N, F).
        targets: (N, T); an indicator's mean is a probability, which the estimate may overshoot.
        fold: (N,) of each row; two or more occur.
        weights: (N,) non-negative row weights.
        rng: Seeds the trees.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    means = np.empty(targets.shape)
    for k in np.unique(fold):
        fitted, asked = (fold != k) & (weights > 0), fold == k
        knots = _knots(x[fitted])
        pieces = _pieces(x, knots)
        line = ridge(pieces[fitted], targets[fitted], weights[fitted])
        left = targets[fitted] - line(pieces[fitted])
        trees = ExtraTreesRegressor(
            TREES,
            min_samples_leaf=LEAST_LEAF,
            max_features=0.4,
            random_state=int(rng.integers(2**31)),
        ).fit(x[fitted], left.squeeze(1) if left.shape[1] == 1 else left, weights[fitted])
        means[asked] = line(pieces[asked]) + trees.predict(x[asked]).reshape(-1, targets.shape[1])
    return means


def _knots(x: Array) -> list[tuple[int, float]]:
    """Where the slope of each input may change; nowhere for one of few values."""
    smooth = [j for j in range(x.shape[1]) if len(np.unique(x[:, j])) > len(KNOTS)]
    return [(j, float(knot)) for j in smooth for knot in np.unique(np.quantile(x[:, j], KNOTS))]


def _pieces(x: Array, knots: list[tuple[int, float]]) -> Array:
    return np.column_stack([x, *(np.maximum(x[:, j] - knot, 0.0) for j, knot in knots)])


class Line:
    """A fitted linear function (N, F) to (N, T)."""

    def __init__(self, centre: Array, coef: Array, intercept: Array) -> None:
        self.centre, self.coef, self.intercept = centre, coef, intercept

    def __call__(self, x: Array) -> Array:
        """Its values."""
        return np.asarray((x - self.centre) @ self.coef + self.intercept)


def ridge(x: Array, targets: Array, weights: Array, penalty: float = PENALTY) -> Line:
    """Weighted ridge regression of targets (N, T) on standardised x (N, F).

    Args:
        x: (N, F); constant columns get no coefficient.
        targets: (N, T).
        weights: (N,), of positive sum.
        penalty: As a share of the rows' total weight.

    >>> ridge(np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]]), np.ones(2), 0.0)(np.array([[2.0]])).round(6).tolist()
    [[5.0]]
    """
    share = weights / weights.sum()
    centre, level = share @ x, share @ targets
    scale = np.sqrt(share @ (x - centre) ** 2)
    scale = np.where(scale > 1e-8 * (1 + np.abs(centre)), scale, np.inf)
    z = (x - centre) / scale
    normal = (z * share[:, None]).T @ z + (penalty + 1e-12) * np.eye(x.shape[1])
    coef = np.linalg.solve(normal, (z * share[:, None]).T @ (targets - level))
    return Line(centre, coef / scale[:, None], level)
