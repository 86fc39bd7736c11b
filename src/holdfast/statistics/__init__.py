"""Numbers that can be defended: metrics, intervals, groups and paired comparisons, on plain numpy arrays.

Nothing here knows of tasks or models, and everything that draws takes a ``numpy.random.Generator``.
"""

from holdfast.statistics.comparisons import Comparison, RowStatistic, compare, holm, holm_verdicts, seed_interval
from holdfast.statistics.groups import GroupValues, check_groups, group_counts, group_values, worst_group_interval
from holdfast.statistics.intervals import (
    Interval,
    bootstrap,
    clopper_pearson,
    mean_t,
    metric_interval,
    no_interval,
    rate_interval,
    simultaneous_level,
    simultaneous_worst,
    wilson,
    worst_of,
)
from holdfast.statistics.means import weighted_mean
from holdfast.statistics.metrics import METRICS, Metric, metric_named, metrics_for

__all__ = [
    "METRICS",
    "Comparison",
    "GroupValues",
    "Interval",
    "Metric",
    "RowStatistic",
    "bootstrap",
    "check_groups",
    "clopper_pearson",
    "compare",
    "group_counts",
    "group_values",
    "holm",
    "holm_verdicts",
    "mean_t",
    "metric_interval",
    "metric_named",
    "metrics_for",
    "no_interval",
    "rate_interval",
    "seed_interval",
    "simultaneous_level",
    "simultaneous_worst",
    "weighted_mean",
    "wilson",
    "worst_group_interval",
    "worst_of",
]
