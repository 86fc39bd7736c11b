"""How good a model is, on every split and sub-population."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from holdfast.core.data import Dataset
from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Kind, TaskData
from holdfast.evaluations.scored import Level, ScoredRows, by_value, headline, measured_splits, score
from holdfast.statistics import Metric, metrics_for


@register
@dataclass(frozen=True, kw_only=True)
class Performance(Evaluation):
    """Every metric of the task's kind on all rows of each split, on each environment and on each group.

    A metric that is not defined on some rows (AUROC where one class occurs) is NaN, and its note says why. On all rows
    every metric has an interval that resampling can give (ECE has none); on environments and groups only the headline
    metric has: accuracy, of which most intervals are exact and cost nothing, or RMSE.

    Attributes:
        level: Of the intervals.
        replicates: Resamples of a bootstrap; 300 place its ends within about a tenth of the interval's half-width.
    """

    level: Level = 0.95
    replicates: Annotated[int, Range(low=100)] = 300

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        measurements: list[Measurement] = []
        for split in measured_splits(task):
            everything = score(predictor, split)
            measurements += self._measure(everything, metrics_for(task.kind), task.kind, rng)
            for rows in _sub_populations(everything, split.data, task):
                measurements += self._measure(rows, (headline(task.kind),), task.kind, rng)
        return Result(tuple(measurements))

    def _measure(
        self, rows: ScoredRows, with_interval: Sequence[Metric], kind: Kind, rng: np.random.Generator
    ) -> Iterator[Measurement]:
        for metric in metrics_for(kind):
            interval = rows.interval(metric, rng, self.level, self.replicates) if metric in with_interval else None
            yield rows.measurement(metric.name, metric, rows.value(metric), interval)


def _sub_populations(rows: ScoredRows, data: Dataset, task: TaskData) -> list[ScoredRows]:
    """Each environment, then each group."""
    groups = task.group_column(data)
    environments = by_value(rows, data.environment, "environment").values()
    return [*environments, *(by_value(rows, groups, "group").values() if groups is not None else ())]
