"""The evaluation ``agreement``."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from holdfast.core.artifacts import Curve, Matrix
from holdfast.core.data import Column, Dataset
from holdfast.core.ledger import Ledger
from holdfast.core.predictors import EstimatorPredictor, ModulePredictor
from holdfast.core.task import Split, TaskData, training_view
from holdfast.evaluations.agreement import Agreement
from holdfast.methods.erm import ERM
from holdfast.models.linear import Linear
from holdfast.testing import toy_task
from holdfast.training import Budget, Trainer


def task_of(slopes: list[float], rows: int = 40) -> TaskData:
    """One feature whose slope differs between environments."""
    x = torch.randn(rows * len(slopes), 1, generator=torch.Generator().manual_seed(0))
    codes = torch.arange(len(x)) // rows
    names = tuple(f"e{k}" for k in range(len(slopes)))
    data = Dataset(x, x[:, 0] * torch.tensor(slopes)[codes], Column(codes, names))
    return TaskData(kind="regression", splits=(Split("train", "train", data),), model=Linear(bias=False))


def predictor_at(weight: float) -> ModulePredictor:
    module = Linear(bias=False).build((1,), 1)
    torch.nn.init.constant_(next(module.parameters()), weight)
    return ModulePredictor(module, "regression")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_environments_that_pull_together_and_apart() -> None:
    task = task_of([2.0, 3.0, 1.0, -4.0])
    result = Agreement().evaluate(predictor_at(0.0), task, rng())
    assert [m.value for m in result.measurements] == [1.0]  # three of four agree: threshold .5
    assert "at least 3 of 4 environments" in result.findings[0].sentence
    assert "and-mask:threshold=0.5" in result.findings[0].sentence
    pairs = next(a for a in result.artifacts if isinstance(a, Matrix) and a.rows == a.columns)
    assert dict(zip(pairs.rows, (row[pairs.columns.index("e0")] for row in pairs.values), strict=True)) == {
        "e0": 1, "e1": 1, "e2": 1, "e3": -1,
    }  # fmt: skip
    assert pairs.rows[0] == "e3" or pairs.rows[-1] == "e3"


def test_all_alike() -> None:
    result = Agreement().evaluate(predictor_at(0.0), task_of([2.0, 3.0, 1.0]), rng())
    assert "all 3 environments" in result.findings[0].sentence


def test_start_middle_and_end_of_training() -> None:
    task = toy_task()
    view, trainer = training_view(task, ERM().needs(), Ledger()), Trainer(budget=Budget(40), batch_size=30)
    model = ERM().fit(view, trainer)
    fit = trainer.fits["main"]

    def network(step: int) -> torch.nn.Module:
        made = task.model.build((6,), 3)
        made.load_state_dict(fit.weights_at(step))
        return made

    checkpoints = {step: (lambda s=step: network(s)) for step in fit.kept}
    predictor = ModulePredictor(model, "classification", task.classes, checkpoints=checkpoints)
    before = [p.requires_grad for p in model.parameters()]
    result = Agreement().evaluate(predictor, task, rng())
    assert [m.metric.rpartition(" ")[2] for m in result.measurements] == ["start", "middle", "end"]
    curve = next(a for a in result.artifacts if isinstance(a, Curve))
    assert list(curve.series) == ["start (step 0)", "middle (step 23)", "end (step 40)", "tossed signs"]
    assert result.measurements[0].value > result.measurements[2].value
    assert [p.requires_grad for p in model.parameters()] == before
    alone = Agreement().evaluate(dataclasses.replace(predictor, checkpoints={}), task, rng())
    assert alone.measurements[0].value == pytest.approx(result.measurements[2].value, abs=0.35)


def test_nothing_to_compare_gives_nothing() -> None:
    assert not Agreement().evaluate(predictor_at(0.0), task_of([2.0]), rng()).measurements
    estimator = EstimatorPredictor(None, "regression")
    assert not Agreement().evaluate(estimator, task_of([2.0, 1.0]), rng()).measurements
    few = Agreement(max_weights=1)
    module = Linear().build((1,), 1)
    assert not few.evaluate(ModulePredictor(module, "regression"), task_of([2.0, 1.0]), rng()).measurements


def test_the_largest_environments_are_compared() -> None:
    task = task_of([1.0] * 5)
    data = task.splits[0].data.take(torch.arange(7, 200))  # the first has fewer rows
    smaller = dataclasses.replace(task, splits=(Split("train", "train", data),))
    result = Agreement(max_environments=4).evaluate(predictor_at(0.0), smaller, rng())
    pairs = next(a for a in result.artifacts if isinstance(a, Matrix) and a.rows == a.columns)
    assert set(pairs.rows) == {"e1", "e2", "e3", "e4"}
