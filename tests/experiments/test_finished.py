"""Models of finished cells, made again from their files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from holdfast.core.errors import UserError
from holdfast.core.method import Method
from holdfast.core.options import parse_alternatives
from holdfast.core.predictors import cached, checkpoints_of
from holdfast.core.registry import create
from holdfast.core.task import Task
from holdfast.experiments.cells import finish_cell, load_module, predictor_of
from holdfast.experiments.finished import finished_model
from holdfast.experiments.grid import Grid, load_folds
from holdfast.experiments.store import CellStore
from holdfast.training import Budget, SelectionRule


def grid_of(task: Task, text: str) -> Grid:
    chains = tuple(tuple(create(Method, part) for part in chain) for chain in parse_alternatives(text))
    rule = create(SelectionRule, "validation")
    return Grid(folds=load_folds(task), chains=chains, seeds=(3,), rule=rule, budget=Budget(20), batch_size=32)


@pytest.mark.parametrize("text", ["erm", "erm:optimizer=SGD:optimizer.lr=0.05+dfr:groups=label", "logistic"])
def test_a_finished_cell_predicts_as_it_did(tmp_path: Path, text: str) -> None:
    store = CellStore(tmp_path)
    ((fold, spec),) = grid_of(create(Task, "colored-digits"), text).specs()
    cell = finish_cell(spec, fold.data, store)
    predictor, data, again = finished_model(cell)
    assert again.key == spec.key
    rows = data.split("test").data
    model = load_module(spec, cell, data) if cell.is_module else cell.estimator()
    assert torch.equal(predictor.predict(rows).outputs, predictor_of(model, data).predict(rows).outputs)


def test_a_finished_cell_has_the_networks_of_its_checkpoints(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    ((fold, spec),) = grid_of(create(Task, "colored-digits"), "erm").specs()
    cell = finish_cell(spec, fold.data, store)
    predictor, *_ = finished_model(cell)
    checkpoints = checkpoints_of(cached(predictor, []))
    assert {0, 1, 16, 20} <= set(checkpoints)
    for step, make in checkpoints.items():
        for name, weights in cell.weights(step).items():
            assert torch.equal(make().state_dict()[name], weights)
    ((fold, spec),) = grid_of(create(Task, "colored-digits"), "logistic").specs()
    predictor, *_ = finished_model(finish_cell(spec, fold.data, store))
    assert checkpoints_of(predictor) == {}


def test_a_table_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"x": range(90), "e": ["a", "b", "c"] * 30, "y": [0, 1] * 45})
    frame.to_csv(path, index=False)
    task = create(Task, f"table:path={path}:label=y:environment=e")
    fold, spec = next(iter(grid_of(task, "erm").specs()))
    cell = finish_cell(spec, fold.data, CellStore(tmp_path / "cells"))
    assert finished_model(cell)[2].fold == "a"
    frame.assign(x=1.0 * frame["x"] ** 2).to_csv(path, index=False)
    with pytest.raises(UserError, match="not those that cell"):
        finished_model(cell)
