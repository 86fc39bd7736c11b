"""How often a policy gets there, in the live environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.registry import register
from holdfast.core.simulator import Simulator
from holdfast.core.task import Split, TaskData
from holdfast.evaluations.scored import Level
from holdfast.statistics import clopper_pearson


@register
@dataclass(frozen=True, kw_only=True)
class LiveSuccess(Evaluation):
    """Success rate of the most probable action in a task's simulator, on training and on test environments.

    One run in each environment of every split of these roles, and the exact interval of Clopper and Pearson over
    environments. A policy that is good on an expert's states may still fail here, because its own mistakes lead it to
    others. A task without a simulator has no result.

    Attributes:
        level: Of the intervals.
    """

    kinds: ClassVar[tuple[Literal["classification", "regression"], ...]] = ("classification",)

    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        if task.simulator is None:
            return Result()
        splits = [split for split in task.splits if split.role in ("train", "test")]
        return Result(tuple(self._measure(predictor, task.simulator, split) for split in splits))

    def _measure(self, predictor: Predictor, simulator: Simulator, split: Split) -> Measurement:
        precision = split.data.batch(slice(0, 1)).x

        def policy(observations: Tensor) -> Tensor:
            seen = observations.to(precision) if isinstance(precision, Tensor) else observations
            return predictor.predict(Dataset(seen, None, Column.constant(len(seen)))).outputs.argmax(dim=1)

        success = simulator.rollouts(policy, split.name).success
        reached, runs = int(success.sum()), len(success)
        interval = clopper_pearson(reached, runs, self.level)
        return Measurement(
            metric="success-rate",
            value=reached / runs,
            split=split.name,
            n=runs,
            low=interval.low,
            high=interval.high,
            interval=interval.kind,
            level=interval.level,
            unit="environment",
        )
