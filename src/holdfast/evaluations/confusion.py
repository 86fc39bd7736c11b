"""What is taken for what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.core.artifacts import Matrix
from holdfast.core.evaluation import Evaluation, Predictor, Result
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.scored import ScoredRows, measured_splits, score
from holdfast.statistics.means import ratio

MOST_CLASSES = 30


@register
@dataclass(frozen=True, kw_only=True)
class Confusion(Evaluation):
    """A matrix for each test split: which share of a label's rows is predicted as which class, up to 30 classes."""

    kinds = ("classification",)

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        if len(task.classes) > MOST_CLASSES:
            return Result()
        splits = measured_splits(task, ("test",))
        return Result(artifacts=tuple(_matrix(score(predictor, split), task.classes) for split in splits))


def _matrix(rows: ScoredRows, classes: tuple[str, ...]) -> Matrix:
    count = len(classes)
    cell = rows.y * count + rows.scores.argmax(1)
    total = np.bincount(cell, rows.weight, minlength=count**2).reshape(count, count)
    shares = ratio(total, total.sum(1, keepdims=True))
    return Matrix(
        f"confusion on {rows.split}",
        values=tuple(map(tuple, shares.tolist())),
        rows=classes,
        columns=classes,
        x_label="predicted",
        y_label="label",
        caption=f"Share of each label's rows, of {rows.n} in all; empty where a label has none.",
    )
