"""Gaps of shortcuts: how much accuracy falls where exactly some of them go with another class than the label.

Z. Li, I. Evtimov, A. Gordo, C. Hazirbas, T. Hassner, C. Canton Ferrer, C. Xu, M. Ibrahim, *A Whac-A-Mole dilemma:
shortcuts come in multiples where mitigating one amplifies others*, CVPR 2023, arXiv:2212.04825. A cell is the set of
shortcuts that are broken; of S shortcuts there are 2^S, and cell number c has shortcut s broken where bit s of c is
set. Accuracy in distribution is that of the cells, weighted by their shares of the training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.statistics.intervals import Interval, rate_interval
from holdfast.statistics.means import Array, ratio
from holdfast.statistics.resampling import unit_index

Codes = NDArray[Any]

NEGLIGIBLE = 0.01
"""Accuracy in distribution is known where the cells without a row have this share of the training rows at most."""


def cells_of(broken: ArrayLike) -> NDArray[np.intp]:
    """(N,) the cell of rows whose shortcuts (N, S) are broken or not.

    >>> cells_of([[False, False], [True, False], [True, True]]).tolist()
    [0, 1, 3]
    """
    flags = np.asarray(broken, dtype=bool)
    return np.asarray(flags @ (1 << np.arange(flags.shape[1])), dtype=np.intp)


def over_represented(y: Codes, values: Codes, classes: int, count: int) -> NDArray[np.intp]:
    """(V,) for each value of a column the class whose share of the value's rows exceeds its share of all rows most.

    In proportion: P(c | v) / P(c). The first of equals; −1 for values that do not occur.

    >>> over_represented(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2, 3).tolist()
    [0, 1, -1]
    """
    table = np.zeros((count, classes))
    np.add.at(table, (values, y), 1.0)
    lift = ratio(table, table.sum(axis=0, keepdims=True))
    best = np.nan_to_num(lift, nan=0.0).argmax(axis=1)
    return np.where(table.sum(axis=1) > 0, best, -1)


@dataclass(frozen=True)
class Gap:
    """Accuracy in a cell less accuracy in distribution; negative is bad.

    Attributes:
        cell: Its number.
        n: Rows in it.
        accuracy: Of these rows.
        value: The gap; NaN where the cell is empty or accuracy in distribution unknown.
        low, high: Ends of the interval; None where there is none.
    """

    cell: int
    n: int
    accuracy: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class CellAccuracies:
    """Accuracy in each cell with its interval.

    Attributes:
        counts: (2^S,) rows.
        accuracy: (2^S,) NaN where there is no row.
        intervals: Of each cell.
        shares: (2^S,) of the training rows.
    """

    counts: NDArray[np.intp]
    accuracy: Array
    intervals: Sequence[Interval]
    shares: Array

    @staticmethod
    def of(
        right: Codes,
        cells: Codes,
        shares: Array,
        *,
        rng: np.random.Generator,
        weights: Array | None = None,
        units: Codes | None = None,
        level: float = 0.95,
    ) -> CellAccuracies:
        """From (N,) which rows are right, their cells, and the (2^S,) training shares of the cells."""
        base = np.ones(len(right)) if weights is None else weights
        unit = unit_index(len(right), units)
        members = [np.flatnonzero((cells == c) & (base > 0)) for c in range(len(shares))]
        return CellAccuracies(
            np.array([len(rows) for rows in members]),
            np.array([float(ratio(base[rows] @ right[rows], base[rows].sum())) for rows in members]),
            [rate_interval(right[m], rng=rng, weights=base[m], units=unit[m], level=level) for m in members],
            shares / shares.sum(),
        )

    @property
    def missing(self) -> float:
        """The share of the training rows whose cells have no row here."""
        return float(self.shares[self.counts == 0].sum())

    @property
    def in_distribution(self) -> float:
        """Accuracy in distribution, of the cells that have rows; NaN where the others are not negligible."""
        return float(np.nan if self.missing > NEGLIGIBLE else np.nansum(self._known * self.accuracy))

    @property
    def _known(self) -> Array:
        """(2^S,) the training shares among the cells that have rows here, zero in the others."""
        present = np.where(self.counts > 0, self.shares, 0.0)
        return ratio(present, present.sum())

    @property
    def in_distribution_interval(self) -> tuple[float | None, float | None]:
        """Of accuracy in distribution."""
        return self._around(self.in_distribution, self._known)

    def gap(self, cell: int) -> Gap:
        """Of one cell."""
        entering = np.where(np.arange(len(self.shares)) == cell, 1.0, 0.0) - self._known
        n, accuracy = int(self.counts[cell]), float(self.accuracy[cell])
        value = accuracy - self.in_distribution
        return Gap(cell, n, accuracy, float(value), *self._around(value, entering))

    def _around(self, value: float, entering: Array) -> tuple[float | None, float | None]:
        """The interval of a sum: the squares of the cells' intervals added, each weighted as it enters.

        G. Zou, A. Donner, *Construction of confidence limits about effect measures: a general approach*, 2008.
        """
        used = np.flatnonzero(entering)
        bounds = [(self.intervals[c].low, self.intervals[c].high) for c in used.tolist()]
        if np.isnan(value) or any(low is None or high is None for low, high in bounds):
            return None, None
        ends = np.array(bounds, dtype=float)
        factor, center = entering[used], self.accuracy[used]
        below, above = factor * (center - ends[:, 0]), factor * (ends[:, 1] - center)
        down = np.where(factor > 0, below, above)
        up = np.where(factor > 0, above, below)
        return float(value - np.hypot.reduce(down)), float(value + np.hypot.reduce(up))
