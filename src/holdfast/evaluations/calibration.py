"""Whether confidence can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.core.artifacts import Curve
from holdfast.core.evaluation import Evaluation, Predictor, Result
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.scored import ScoredRows, by_value, measured_splits, score

ROWS_PER_POINT = 50
MOST_POINTS = 15
MOST_ENVIRONMENTS = 6


@register
@dataclass(frozen=True, kw_only=True)
class Calibration(Evaluation):
    """A reliability diagram for each test split: accuracy against confidence, for all rows and each environment.

    Rows are sorted by the probability of the predicted class into at most 15 points of equally many rows, of 50 or
    more. The six largest environments are drawn. The number to it, the debiased ECE, is one of ``performance``.
    """

    kinds = ("classification",)

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        curves = []
        for split in measured_splits(task, ("test",)):
            rows = score(predictor, split)
            populations = {"all rows": rows}
            environments = by_value(rows, split.data.environment, "environment")
            if len(environments) > 1:
                largest = sorted(environments.items(), key=lambda item: -item[1].n)
                populations |= dict(largest[:MOST_ENVIRONMENTS])
            curves.append(_diagram(split.name, populations))
        return Result(artifacts=tuple(curves))


def _diagram(split: str, populations: dict[str, ScoredRows]) -> Curve:
    ideal = {"perfect": ((0.0, 1.0), (0.0, 1.0))}
    return Curve(
        f"reliability on {split}",
        series=ideal | {name: _reliability(rows) for name, rows in populations.items() if rows.n},
        x_label="confidence",
        y_label="accuracy",
        caption="Below the diagonal the model is too sure of itself.",
    )


def _reliability(rows: ScoredRows) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean confidence and accuracy at each point."""
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    confidence = np.exp(rows.scores.max(1))
    correct = rows.scores.argmax(1) == rows.y
    order = np.argsort(confidence, kind="stable")
    order = order[weight[order] > 0]
    points = np.array_split(order, max(1, min(MOST_POINTS, len(order) // ROWS_PER_POINT)))
    return (
        tuple(float(np.average(confidence[point], weights=weight[point])) for point in points),
        tuple(float(np.average(correct[point], weights=weight[point])) for point in points),
    )
