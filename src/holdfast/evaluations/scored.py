"""What evaluations start from: the rows of a split with what a model says of them, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.core.data import Column
from holdfast.core.evaluation import Measurement, Predictor
from holdfast.core.options import Range
from holdfast.core.task import Kind, Role, Split, TaskData
from holdfast.statistics import Interval, Metric, metric_interval, metrics_for

MEASURED: tuple[Role, ...] = ("selection", "calibration", "test")
"""Roles whose rows no method trains on."""

Level = Annotated[float, Range(0.5, 0.999)]


@dataclass(frozen=True)
class ScoredRows:
    """N rows of a split.

    Attributes:
        split: Its name.
        y: (N,) int64 classes or float64 targets.
        scores: (N, C) log-probabilities or (N,) predicted means, float64.
        weight: (N,) row weights, or None.
        unit: (N,) unit codes, or None where every row is its own.
        environment, group: The sub-population that the rows are; None for all.
    """

    split: str
    y: NDArray[Any]
    scores: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None
    unit: NDArray[np.int64] | None = None
    environment: str | None = None
    group: str | None = None

    @property
    def n(self) -> int:
        """How many rows have a weight above zero."""
        return len(self.y) if self.weight is None else int((self.weight > 0).sum())

    def take(self, rows: NDArray[Any]) -> ScoredRows:
        """Some of the rows."""
        return replace(
            self,
            y=self.y[rows],
            scores=self.scores[rows],
            weight=None if self.weight is None else self.weight[rows],
            unit=None if self.unit is None else self.unit[rows],
        )

    def value(self, metric: Metric) -> float:
        """A metric on these rows; NaN where it is not defined."""
        return metric(self.y, self.scores, self.weight)

    def undefined(self, metric: Metric) -> str:
        """Why a metric is not defined on these rows; empty where it is."""
        return metric.undefined(self.y, self.scores, self.weight) or ""

    def interval(self, metric: Metric, rng: np.random.Generator, level: float, replicates: int = 300) -> Interval:
        """Of a metric: exact for a rate of independent rows, else by the bootstrap of rows or units."""
        return metric_interval(
            metric,
            self.y,
            self.scores,
            rng=rng,
            weights=self.weight,
            units=self.unit,
            level=level,
            replicates=replicates,
        )

    def measurement(self, name: str, metric: Metric, value: float, interval: Interval | None = None) -> Measurement:
        """A value with its interval, or with the reason why either is missing."""
        bare = Measurement(
            metric=name,
            value=value,
            split=self.split,
            n=self.n,
            unit="row" if self.unit is None else "unit",
            environment=self.environment,
            group=self.group,
            higher_is_better=metric.higher_is_better,
            note=self.undefined(metric),
        )
        return bare if interval is None or bare.note else with_interval(bare, interval)


def with_interval(measurement: Measurement, interval: Interval) -> Measurement:
    """The measurement with an interval; where there is none, the note says why."""
    if interval.low is None and interval.high is None:
        return replace(measurement, level=interval.level, note=f"interval: {interval.kind}")
    return replace(measurement, low=interval.low, high=interval.high, interval=interval.kind, level=interval.level)


def headline(kind: Kind) -> Metric:
    """The metric that comparisons, worst groups and drops are about: accuracy or RMSE.

    >>> headline("classification").name, headline("regression").name
    ('accuracy', 'rmse')
    """
    return metrics_for(kind)[0]


def measured_splits(task: TaskData, roles: Sequence[Role] = MEASURED) -> list[Split]:
    """The splits of these roles that have labels, in the task's order."""
    return [split for split in task.splits if split.role in roles and split.data.y is not None]


def score(predictor: Predictor, split: Split) -> ScoredRows:
    """Predict the rows of a split that has labels."""
    data, prediction = split.data, predictor.predict(split.data)
    outputs = prediction.outputs.double()
    scores = outputs.squeeze(1) if prediction.logits is None else outputs.log_softmax(dim=1)

    def array(tensor: Any) -> NDArray[Any]:
        return np.asarray(tensor.cpu().numpy())

    return ScoredRows(
        split=split.name,
        y=array(data.labels.double() if prediction.logits is None else data.labels),
        scores=array(scores),
        weight=None if data.weight is None else array(data.weight.double()),
        unit=None if data.unit is None else array(data.unit),
    )


def by_value(rows: ScoredRows, column: Column, what: Literal["environment", "group"]) -> dict[str, ScoredRows]:
    """The rows of each value of a column that occurs, by its name; rows of unknown value are in none."""
    codes = column.codes.cpu().numpy()
    parts = {column.names[code]: rows.take(np.flatnonzero(codes == code)) for code in column.present()}
    if what == "group":
        return {name: replace(part, group=name) for name, part in parts.items()}
    return {name: replace(part, environment=name) for name, part in parts.items()}
