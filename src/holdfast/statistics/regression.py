"""Formulas of regression metrics: targets (N,), predicted means (N,), weights (..., N)."""

from __future__ import annotations

import numpy as np

from holdfast.statistics.means import Array, Labels, ratio, weighted_mean


def squared_error(y: Labels, mean: Array) -> Array:
    """(target − mean)² (N,).

    >>> squared_error(np.array([1.0]), np.array([3.0])).tolist()
    [4.0]
    """
    return np.asarray((y - mean) ** 2, dtype=np.float64)


def absolute_error(y: Labels, mean: Array) -> Array:
    """|target − mean| (N,).

    >>> absolute_error(np.array([1.0]), np.array([3.0])).tolist()
    [2.0]
    """
    return np.asarray(np.abs(y - mean), dtype=np.float64)


def explained_variance(y: Labels, mean: Array, weights: Array) -> Array:
    """R²: one minus the squared error over that of the mean target; NaN where the target does not vary: (...,).

    >>> float(explained_variance(np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.ones(2)))
    0.5
    """
    centred = y - y.mean()  # so that the difference of moments does not cancel
    variance = weighted_mean(centred**2, weights) - weighted_mean(centred, weights) ** 2
    varies = variance > 1e-12 * (centred**2).mean()
    return 1 - ratio(weighted_mean(squared_error(y, mean), weights), np.where(varies, variance, 0.0))
