"""What tasks allow to exchange between rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.registry import create
from holdfast.core.task import RawTable, Split, Task, TaskData
from holdfast.models.mlp import MLP
from holdfast.perturbations import exchangeable


def task_of(x: torch.Tensor, raw: RawTable | None = None) -> TaskData:
    data = Dataset(x, torch.arange(len(x)) % 2, Column.constant(len(x)))
    return TaskData("classification", (Split("data", "test", data),), MLP(), classes=("a", "b"), raw=raw)


def parts(task: TaskData) -> dict[str, Any]:
    return {swap.part: swap.apply for swap in exchangeable(task, task.splits[0].data)[1]}


def test_columns_of_a_table_keep_their_type_and_all_others() -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "c": pd.Categorical(["u", "v", None]), "t": ["x", "y", "z"]})
    task = task_of(torch.zeros(3, 1), RawTable(frame, ("n", "c", "t")))
    start, swaps = exchangeable(task, task.splits[0].data)
    for swap in swaps:
        changed = swap.apply(start, torch.tensor([2, 0, 1]))
        assert changed[swap.part].tolist()[1:] == frame[swap.part].tolist()[:2]
        assert (changed.dtypes == frame.dtypes).all()
        pd.testing.assert_frame_equal(changed.drop(columns=swap.part), frame.drop(columns=swap.part))
    assert frame["n"].tolist() == [1, 2, 3]


def test_rows_of_other_ids_are_exchanged_too() -> None:
    frame = pd.DataFrame({"n": [10, 20, 30]}, index=[4, 7, 9])
    rows = Dataset(torch.zeros(2, 1), torch.zeros(2), Column.constant(2), index=torch.tensor([9, 4]))
    start, (swap,) = exchangeable(task_of(torch.zeros(3, 1), RawTable(frame, ("n",))), rows)
    assert swap.apply(start, torch.tensor([1, 0]))["n"].tolist() == [10, 30]


def test_a_drawn_row_takes_the_color_and_keeps_its_digit() -> None:
    task = create(Task, "colored-digits").load()
    rows = task.split("test").data.take(torch.arange(40))
    start, (swap,) = exchangeable(task, rows)
    assert start is rows
    donors = torch.arange(40).flip(0)
    changed = swap.apply(rows, donors)
    assert torch.equal(changed.attributes["color"].codes, rows.attributes["color"].codes[donors])
    assert torch.equal(changed.x.amax(1) > 0, rows.x.amax(1) > 0)  # type: ignore[union-attr]
    assert torch.equal(swap.apply(changed, donors).x, rows.x)  # type: ignore[arg-type]


def test_entries_of_a_vector() -> None:
    x = torch.arange(6.0).reshape(3, 2)
    changed = parts(task_of(x))["input 1"](task_of(x).splits[0].data, torch.tensor([1, 2, 0])).x
    assert changed.tolist() == [[0, 3], [2, 5], [4, 1]]


def test_pictures_exchange_parts_and_long_vectors_none() -> None:
    assert {"color", "border", "top left"} <= set(parts(task_of(torch.zeros(2, 3, 8, 8))))
    assert not parts(task_of(torch.zeros(2, 65)))


def test_a_task_that_draws_exchanges_factors_even_where_rows_are_pictures() -> None:
    task = create(Task, "colored-digits").load()
    assert [swap.part for swap in exchangeable(task, task.splits[0].data)[1]] == ["color"]
    assert "color" in parts(dataclasses.replace(task, render=None))
