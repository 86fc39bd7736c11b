"""Metrics per group of rows, and the worst group: empty groups are missing, never zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.core.errors import UserError
from holdfast.statistics.intervals import (
    Interval,
    metric_interval,
    simultaneous_level,
    worst_of,
)
from holdfast.statistics.means import Array
from holdfast.statistics.metrics import Metric


def check_groups(groups: ArrayLike, n_rows: int, n_groups: int) -> NDArray[np.intp]:
    """Group ids (N,) in −1..G−1, where −1 is unknown.

    Raises:
        UserError: Not one integer per row, or an id below −1 or at or above G.
    """
    ids: NDArray[Any] = np.asarray(groups)
    if ids.shape != (n_rows,) or not (np.issubdtype(ids.dtype, np.integer) or not n_rows):
        raise UserError(f"groups must be one integer per row: wanted shape ({n_rows},), got {ids.dtype} {ids.shape}")
    if n_rows and (ids.min() < -1 or ids.max() >= n_groups):
        wrong = ids.max() if ids.max() >= n_groups else ids.min()
        raise UserError(f"group id {wrong} is out of range: ids are 0..{n_groups - 1}, or -1 where unknown")
    return ids.astype(np.intp)


def group_counts(groups: ArrayLike, n_groups: int) -> NDArray[np.intp]:
    """Rows (G,) in each group; rows of unknown group (−1) are in none.

    >>> group_counts([0, 2, 2, -1], 3).tolist()
    [1, 0, 2]
    """
    ids = check_groups(groups, len(np.asarray(groups)), n_groups)
    return np.bincount(ids[ids >= 0], minlength=n_groups)


@dataclass(frozen=True)
class GroupValues:
    """A metric in each of G groups.

    Attributes:
        values: (G,), NaN where the group is empty or the metric undefined on it.
        counts: Rows (G,) in each group, rows of zero weight left out.
        higher_is_better: Direction of the metric.
    """

    values: Array
    counts: NDArray[np.intp]
    higher_is_better: bool

    @property
    def worst(self) -> int:
        """Index of the worst group with a value; the first of equals.

        Raises:
            UserError: No group has a value.
        """
        if np.isnan(self.values).all():
            raise UserError("no group has a row with a value: there is no worst group")
        return int(np.nanargmin(self.values) if self.higher_is_better else np.nanargmax(self.values))


def group_values(
    metric: Metric, y: ArrayLike, scores: ArrayLike, groups: ArrayLike, n_groups: int, weights: ArrayLike | None = None
) -> GroupValues:
    """The metric in each group.

    >>> from holdfast.statistics.metrics import METRICS
    >>> result = group_values(METRICS["mae"], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0, 2, 2], n_groups=3)
    >>> result.values.tolist(), result.counts.tolist(), result.worst
    ([0.0, nan, 1.5], [1, 0, 2], 2)

    Raises:
        UserError: As :func:`check_groups` and the metric do.
    """
    labels, predicted, base = metric.checked(y, scores, weights)
    ids = check_groups(groups, len(labels), n_groups)
    members = [ids == g for g in range(n_groups)]
    return GroupValues(
        np.array([metric(labels[rows], predicted[rows], base[rows]) for rows in members]),
        group_counts(ids[base > 0], n_groups),
        metric.higher_is_better,
    )


def worst_group_interval(
    metric: Metric,
    y: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    units: ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Interval of the metric in the worst group: an interval per group, simultaneous at ``level``, then the worst.

    Groups that are empty, or on which the metric is undefined, are left out; nobody needs to know how many there are.

    >>> from holdfast.statistics.metrics import METRICS
    >>> y, mean, g = [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.5], [0, 0, 1, 1]
    >>> worst_group_interval(METRICS["mae"], y, mean, g, rng=np.random.default_rng(0)).kind
    'simultaneous bootstrap over 2 groups'

    Raises:
        UserError: No group has a value; ids or rows are wrong, as for :func:`group_values`.
    """
    labels, predicted, base = metric.checked(y, scores, weights)
    n_groups = int(np.max(groups, initial=-1)) + 1
    ids = check_groups(groups, len(labels), n_groups)
    unit_ids = None if units is None else np.asarray(units)
    defined = np.flatnonzero(~np.isnan(group_values(metric, labels, predicted, ids, n_groups, base).values))
    each = simultaneous_level(level, len(defined))
    intervals = []
    for g in defined:
        rows = ids == g
        intervals.append(
            metric_interval(
                metric,
                labels[rows],
                predicted[rows],
                rng=rng,
                weights=base[rows],
                units=None if unit_ids is None else unit_ids[rows],
                level=each,
            )
        )
    return worst_of(intervals, level, higher_is_better=metric.higher_is_better)
