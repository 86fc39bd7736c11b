"""Weighted means over rows, the material of every other number here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.core.errors import UserError

Array = NDArray[np.float64]
Labels = NDArray[Any]


def identity(value: Array) -> Array:
    """The ``finish`` of a metric that is itself a mean."""
    return value


def row_weights(n_rows: int, weights: ArrayLike | None) -> Array:
    """Weights (N,) as floats, ones where None; raises UserError unless they are finite and non-negative."""
    if weights is None:
        return np.ones(n_rows)
    checked = np.asarray(weights, dtype=np.float64)
    if checked.shape != (n_rows,):
        raise UserError(f"weights must be one number per row: wanted shape ({n_rows},), got {checked.shape}")
    if not np.isfinite(checked).all() or (checked < 0).any():
        raise UserError("weights must be finite and not negative: drop or repair the rows where they are not")
    return checked


def weighted_mean(rows: Array, weights: Array) -> Array:
    """Mean of rows (N,) under weights (..., N), of shape (...,); NaN where the weights sum to zero.

    A row of weight zero is absent even where its value is infinite.

    >>> weighted_mean(np.array([1.0, 3.0, np.inf]), np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).tolist()
    [2.0, inf]
    """
    infinite = np.isposinf(rows)
    mean = ratio(weights @ np.where(infinite, 0.0, rows), weights.sum(-1))
    return np.where(weights @ infinite > 0, np.inf, mean) if infinite.any() else mean


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """The quotient, elementwise, and NaN where the denominator is zero.

    >>> ratio([1.0, 0.0], [4.0, 0.0]).tolist()
    [0.25, nan]
    """
    below = np.asarray(denominator, dtype=np.float64)
    return np.asarray(np.asarray(numerator) / np.where(below == 0, np.nan, below))


def mean_over_units(rows: Array, weights: Array, units: NDArray[np.intp]) -> tuple[float, float, int]:
    """Weighted mean of rows, its standard error over units, and how many units there are.

    Args:
        rows: (N,).
        weights: (N,) of positive sum.
        units: (N,) codes.

    >>> mean, error, units = mean_over_units(np.array([1.0, 1.0, 3.0, 3.0]), np.ones(4), np.array([0, 0, 1, 1]))
    >>> mean, round(error, 3), units
    (2.0, 1.0, 2)
    """
    share = weights / weights.sum()
    mean = float(share @ rows)
    sums = np.bincount(np.unique(units, return_inverse=True)[1], weights=share * (rows - mean))
    return mean, float(np.sqrt(sums @ sums * len(sums) / max(len(sums) - 1, 1))), len(sums)
