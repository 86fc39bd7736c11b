"""How two quantities of the same rows go together, with errors that respect units: the slope of one on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.statistics.means import Array, ratio
from holdfast.statistics.resampling import unit_index


@dataclass(frozen=True)
class Effects:
    """M effects with Student's errors.

    Attributes:
        value: (M,) estimates; NaN where there is nothing to estimate from.
        error: (M,) standard errors.
        informative: (M,) how many equally informative units would be as good: one more than the degrees of freedom.
    """

    value: Array
    error: Array
    informative: Array

    def p_values(self, null: float = 0.0) -> Array:
        """(M,) two-sided p-values of the effects being ``null``; NaN where an error is zero or unknown."""
        from scipy.special import stdtr

        t = ratio(np.abs(self.value - null), self.error)
        return np.asarray(2 * stdtr(np.maximum(self.informative - 1, 1e-3), -t))

    def half_widths(self, level: float) -> Array:
        """(M,) halves of the two-sided intervals at a level."""
        from scipy.special import stdtrit

        return np.asarray(self.error * stdtrit(np.maximum(self.informative - 1, 1e-3), (1 + level) / 2))


def slopes(targets: Array, direction: Array, weights: Array, units: ArrayLike | None = None) -> Effects:
    """Least-squares slopes through the origin of M residuals on one other, with sandwich errors over units.

    With ``direction`` the residual of an environment's indicator after its regression on x, and ``targets`` that of y
    after its own, a slope of zero is the null of the generalised covariance measure: R. Shah, J. Peters, *The hardness
    of conditional independence testing and the generalised covariance measure*, 2020, arXiv:1804.07203. The errors of
    the two regressions only enter as a product. No error is smaller than for
    residuals whose sizes are independent.

    Args:
        targets: (N, M).
        direction: (N,).
        weights: (N,) row weights.
        units: Unit id (N,) of each row; None: each row is its own.

    >>> effects = slopes(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, 1.0, -1.0, 1.0]), np.ones(4))
    >>> effects.value.tolist(), effects.informative.tolist()
    ([0.5], [4.0])
    """
    information = weights * direction**2
    value = ratio((weights * direction) @ targets, information.sum())
    score = (weights * direction)[:, None] * (targets - direction[:, None] * value)
    totals = by_unit(np.column_stack([score, information]), units)
    informative = float(ratio(information.sum() ** 2, (totals[:, -1] ** 2).sum()))
    correction = ratio(informative, informative - 1) if informative > 1 + 1e-9 else np.nan
    apart = weights @ (targets - direction[:, None] * value) ** 2 / weights.sum() * ((weights * direction) ** 2).sum()
    # An environment without a row of a rare class shows no variance of it.
    variance = np.maximum((totals[:, :-1] ** 2).sum(0), apart)
    return Effects(value, ratio(np.sqrt(variance * correction), information.sum()), np.full(len(value), informative))


def area_between(score: Array, member: NDArray[np.bool_], weights: Array, units: ArrayLike | None = None) -> Effects:
    """AUROC of a score for telling members from others, with the error of its placements summed by unit.

    E. DeLong, D. DeLong, D. Clarke-Pearson, *Comparing the areas under two or more correlated receiver operating
    characteristic curves*, 1988.

    Args:
        score: (N,).
        member: (N,).
        weights: (N,).
        units: (N,), or None.

    >>> area_between(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]), np.ones(4)).value.tolist()
    [0.75]
    """
    inside, outside = weights * member, weights * ~member
    if not inside.sum() or not outside.sum():
        return Effects(*(np.full(1, np.nan) for _ in range(3)))
    place = np.where(member, _share_below(score, outside), 1 - _share_below(score, inside))
    area = float(inside @ place / inside.sum())
    influence = (inside / inside.sum() + outside / outside.sum()) * (place - area)
    totals = by_unit(np.column_stack([influence, inside, outside]), units)
    counts = ratio(totals[:, 1:].sum(0) ** 2, (totals[:, 1:] ** 2).sum(0))
    informative = float(counts.min())
    correction = ratio(informative, informative - 1) if informative > 1 + 1e-9 else np.nan
    error = np.sqrt((totals[:, 0] ** 2).sum() * correction)
    return Effects(np.array([area]), np.array([error]), np.array([informative]))


def by_unit(values: Array, units: ArrayLike | None) -> Array:
    """Sums (U, M) of values (N, M) over the rows of each unit.

    >>> by_unit(np.array([[1.0], [2.0], [4.0]]), [5, 6, 5]).tolist()
    [[5.0], [2.0]]
    """
    if units is None or not len(values):
        return values
    index = unit_index(len(values), units)
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0))


def _share_below(score: Array, weights: Array) -> Array:
    """(N,) share of the weight at lower scores, ties by half."""
    _, place = np.unique(score, return_inverse=True)
    mass = np.bincount(place, weights)
    return np.asarray(((mass.cumsum() - mass / 2) / mass.sum())[place])
