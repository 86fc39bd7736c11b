"""The success rate in the live environment: of an expert, of chance, and where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.control import Action, solvable_level
from holdfast.core.evaluation import Measurement, Prediction, Result
from holdfast.core.task import TaskData
from holdfast.evaluations.live_success import LiveSuccess
from holdfast.statistics import clopper_pearson
from holdfast.tasks.grid_runner import GridRunner
from holdfast.testing import toy_task

LEVELS = {"train": 6, "test": 12}
TASK = GridRunner(levels=6, rows_per_level=5, selection_levels=1, test_levels=12, held_out_rows=5).load()


class Knows:
    """Acts as it was told for each picture; pictures tell levels and states."""

    module = None

    def __init__(self, actions: dict[bytes, int]) -> None:
        self.actions = actions

    def predict(self, rows: Any) -> Prediction:
        said = [self.actions[x.numpy().tobytes()] for x in rows.batch().x]
        return Prediction(logits=torch.eye(len(Action))[said])


class Chance:
    """Acts at random."""

    module = None

    def predict(self, rows: Any) -> Prediction:
        return Prediction(logits=torch.rand(len(rows), len(Action), generator=torch.Generator().manual_seed(len(rows))))


def planner(*splits: str) -> Knows:
    """The planner in the levels of these splits; in others it stays where it is."""
    known: dict[bytes, int] = {}
    for split, levels in LEVELS.items():
        for number in range(1, levels + 1):
            plan = solvable_level(0, "grid-runner", split, number)
            states = np.arange(len(plan.actions))
            actions = plan.actions if split in splits else np.full(len(states), int(Action.STAY))
            known |= {x.tobytes(): int(a) for x, a in zip(plan.runner.observe(states), actions, strict=True)}
    return Knows(known)


def rates(predictor: Any, task: TaskData = TASK) -> dict[str, Measurement]:
    result = LiveSuccess().evaluate(predictor, task, np.random.default_rng(0))
    return {measurement.split: measurement for measurement in result.measurements}


def test_the_planner_always_gets_there() -> None:
    found = rates(planner("train", "test"))
    assert {split: (m.value, m.n) for split, m in found.items()} == {"train": (1.0, 6), "test": (1.0, 12)}
    exact = clopper_pearson(12, 12)
    assert (found["test"].low, found["test"].high) == (exact.low, exact.high)
    assert (found["test"].interval, found["test"].unit) == ("clopper-pearson", "environment")


def test_one_that_knows_the_training_levels_only_fails_in_others() -> None:
    found = rates(planner("train"))
    assert (found["train"].value, found["test"].value) == (1.0, 0.0)


def test_chance_rarely_gets_there() -> None:
    assert rates(Chance())["test"].value < 0.3


def test_in_double_precision_the_policy_sees_doubles() -> None:
    seen: list[torch.dtype] = []

    class Watches(Chance):
        def predict(self, rows: Any) -> Prediction:
            seen.append(rows.x.dtype)
            return super().predict(rows)

    doubles: Callable[[Any], Any] = lambda split: type(split)(  # noqa: E731
        split.name, split.role, split.data.to("cpu", torch.float64), split.shifted
    )
    task = TaskData("classification", tuple(map(doubles, TASK.splits)), TASK.model, simulator=TASK.simulator)
    rates(Watches(), task)
    assert set(seen) == {torch.float64}


@pytest.mark.parametrize("task", [toy_task()])
def test_a_task_without_a_simulator_has_no_result(task: TaskData) -> None:
    assert LiveSuccess().evaluate(Chance(), task, np.random.default_rng(0)) == Result()
