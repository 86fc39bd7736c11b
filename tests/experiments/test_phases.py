"""A task of several phases: state passes on, every boundary is evaluated, measurements carry their phase."""

import dataclasses

import pytest
import torch

from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Measurement, Result
from holdfast.core.task import Split
from holdfast.experiments.cells import finish_cell
from holdfast.experiments.evaluate import evaluate_cell, read_result
from holdfast.experiments.grid import Fold, Grid
from holdfast.experiments.store import CellStore
from holdfast.methods.erm import ERM
from holdfast.methods.logistic import Logistic
from holdfast.tasks.linreg_patchwork import LinregPatchwork
from holdfast.testing import toy_task
from holdfast.training import Budget, Last, Trainer


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstWeight(Evaluation):
    """The first weight of the network: tells one boundary's model from another's."""

    name = "first-weight"

    def evaluate(self, predictor, task, rng):
        weight = next(predictor.module.parameters()).flatten()[0].item()
        return Result((Measurement("first-weight", weight, "test", 1),))


def two_phases():
    """The toy task with its training rows in two halves, one per phase."""
    task = toy_task()
    train = task.split("train").data
    half = len(train) // 2
    parts = [
        Split(f"train-{phase}", "train", train.take(torch.arange(start, start + half)), phase=phase)
        for phase, start in enumerate((0, half))
    ]
    return dataclasses.replace(task, splits=(*parts, *(s for s in task.splits if s.role != "train")))


def spec_of(data, method):
    grid = Grid(
        folds=(Fold(LinregPatchwork(), "", data),), chains=((method,),), seeds=(0,), rule=Last(), budget=Budget(5)
    )
    return next(iter(grid.specs()))[1]


def test_state_passes_on_and_every_boundary_is_measured(tmp_path, monkeypatch):
    data, seen = two_phases(), []
    original = Trainer.fit

    def watched(self, model, view, step, **kwargs):
        seen.append((next(model.parameters()).detach().clone(), set(view.train.index.tolist())))
        return original(self, model, view, step, **kwargs)

    monkeypatch.setattr(Trainer, "fit", watched)
    spec, store = spec_of(data, ERM()), CellStore(tmp_path)
    cell = finish_cell(spec, data, store)
    (first, first_rows), (second, second_rows) = seen
    assert first_rows == set(data.split("train-0").data.index.tolist())
    assert second_rows == set(data.split("train-1").data.index.tolist())
    assert not torch.equal(first, second)

    result = read_result(store, evaluate_cell(spec, cell, data, [FirstWeight()]))
    boundary, last = sorted(result.measurements, key=lambda m: m.phase)
    assert (boundary.phase, last.phase) == (0, 1)
    assert boundary.value == second.flatten()[0].item()
    assert boundary.value != last.value
    assert [line["phase"] for line in cell.history] == sorted(line["phase"] for line in cell.history)
    assert result.ledger["steps"] == 10


def test_an_estimator_cannot_go_on(tmp_path):
    data = two_phases()
    with pytest.raises(UserError, match="several phases needs a network"):
        finish_cell(spec_of(data, Logistic()), data, CellStore(tmp_path))
