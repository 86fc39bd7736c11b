"""Who is served worst."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from holdfast.core.artifacts import Artifact, Matrix, Table
from holdfast.core.data import Column
from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.scored import (
    Level,
    ScoredRows,
    by_value,
    headline,
    measured_splits,
    score,
    with_interval,
)
from holdfast.statistics import Metric, simultaneous_level, worst_of
from holdfast.statistics.means import ratio

LARGEST_MATRIX = 30


@register
@dataclass(frozen=True, kw_only=True)
class WorstGroup(Evaluation):
    """Accuracy or RMSE in the worst environment and in the worst group of each split, named, with their intervals.

    Each of the G values has an interval of level 1 − α/G, so that all hold together and picking the worst after
    looking costs nothing more; the worst one then lies in [min L, min U] (for RMSE [max L, max U]). Environments and
    groups without rows are left out. A table holds all of them; matrices show the accuracy of each label in each group.

    Attributes:
        level: At which all intervals of a split's environments, or groups, hold.
    """

    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        metric = headline(task.kind)
        measurements: list[Measurement] = []
        lines: list[tuple[Any, ...]] = []
        matrices: list[Artifact] = []
        for split in measured_splits(task):
            rows, groups = score(predictor, split), task.group_column(split.data)
            found = [self._worst(metric, rows, split.data.environment, "environment", rng)]
            found += [self._worst(metric, rows, groups, "group", rng)] if groups is not None else []
            for worst, table in found:
                measurements.append(worst)
                lines += table
            if groups is not None and split.role == "test" and task.kind == "classification":
                matrices += _accuracy_by_label(rows, groups, task.classes)
        columns = ("split", "of", "name", "n", metric.name, "low", "high")
        caption = f"Intervals of a split's environments, or groups, hold together at level {self.level:g}."
        table_of_all = Table(f"{metric.name} by environment and group", columns, tuple(lines), caption)
        return Result(tuple(measurements), (table_of_all, *matrices))

    def _worst(
        self,
        metric: Metric,
        rows: ScoredRows,
        column: Column,
        what: Literal["environment", "group"],
        rng: np.random.Generator,
    ) -> tuple[Measurement, list[tuple[Any, ...]]]:
        """The worst value of a column, and a line of the table for each value."""
        title = f"worst-{what}-{metric.name}"
        parts = {name: part for name, part in by_value(rows, column, what).items() if part.n}
        if not parts:
            none = rows.take(np.zeros(0, dtype=np.intp)).measurement(title, metric, float("nan"))
            return replace(none, note=f"no row of a known {what}"), []
        each = simultaneous_level(self.level, len(parts))
        values = {name: part.value(metric) for name, part in parts.items()}
        intervals = {name: part.interval(metric, rng, each) for name, part in parts.items()}
        # A group for which a diverged model gives no numbers is worse than any other, and not left out.
        worst = max(values, key=lambda name: _badness(values[name], metric))
        measurement = parts[worst].measurement(title, metric, values[worst])
        if not measurement.note:
            interval = worst_of(list(intervals.values()), self.level, higher_is_better=metric.higher_is_better)
            measurement = with_interval(measurement, interval)
        table = [
            (rows.split, what, name, part.n, values[name], _shown(intervals[name].low), _shown(intervals[name].high))
            for name, part in parts.items()
        ]
        return measurement, table


def _badness(value: float, metric: Metric) -> float:
    if np.isnan(value):
        return float("inf")
    return -value if metric.higher_is_better else value


def _shown(bound: float | None) -> float | str:
    return "" if bound is None else bound


def _accuracy_by_label(rows: ScoredRows, groups: Column, classes: tuple[str, ...]) -> list[Artifact]:
    """A matrix of label × group; none where it would be too large to read."""
    present = groups.present()
    if not present or max(len(classes), len(present)) > LARGEST_MATRIX:
        return []
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    right = weight * (rows.scores.argmax(1) == rows.y)
    codes = groups.codes.cpu().numpy()
    values = []
    for label in range(len(classes)):
        cells = [(rows.y == label) & (codes == code) for code in present]
        values.append(tuple(float(ratio(right[cell].sum(), weight[cell].sum())) for cell in cells))
    return [
        Matrix(
            f"accuracy by label and group on {rows.split}",
            values=tuple(values),
            rows=classes,
            columns=tuple(groups.names[code] for code in present),
            x_label="group",
            y_label="label",
            caption="Empty where there are no rows.",
        )
    ]
