"""Rows with factors drawn anew: what changes, what stays, what a method may see, and refusals."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from holdfast.core.errors import UserError
from holdfast.core.interventions import factors_of, with_factors_drawn_anew
from holdfast.core.ledger import Ledger
from holdfast.core.task import Needs, TaskData, training_view
from holdfast.tasks.colored_digits import ColoredDigits
from holdfast.tasks.multi_bias import MultiBias
from holdfast.testing import toy_task


@pytest.fixture(scope="module")
def task() -> TaskData:
    return MultiBias(classes=3).load()


def drawn(task: TaskData, names: str) -> Tensor:
    found = training_view(task, Needs(interventions=(names,)), Ledger()).interventions[names]
    assert isinstance(found.x, Tensor)
    return found.x


def test_only_the_factor_is_drawn_anew_and_from_all_its_values(task: TaskData) -> None:
    train = task.split("train").data
    rows = with_factors_drawn_anew(task, train, "color")
    assert rows.index.equal(train.index)
    assert rows.labels.equal(train.labels)
    for cue in ("texture", "position"):
        assert rows.attributes[cue].codes.equal(train.attributes[cue].codes)
    color = rows.attributes["color"].codes
    assert abs(float((color == train.labels).double().mean()) - 1 / 3) < 0.06
    assert (torch.bincount(color, minlength=3) > 0.28 * len(color)).all()
    assert task.render is not None
    factors = {"label": train.labels, **{name: rows.attributes[name].codes for name in factors_of(task)}}
    assert torch.equal(rows.x, task.render(factors, train.index))  # type: ignore[arg-type]
    same = color == train.attributes["color"].codes
    x, before = rows.batch().x, train.batch().x
    assert torch.equal(x[same], before[same])  # type: ignore[index]
    assert not torch.isclose(x[~same], before[~same]).flatten(1).all(1).any()  # type: ignore[index]


def test_several_factors_are_drawn_independently(task: TaskData) -> None:
    rows = with_factors_drawn_anew(task, task.split("train").data, "color * texture")
    color, texture = (rows.attributes[name].codes for name in ("color", "texture"))
    assert abs(float((color == texture).double().mean()) - 1 / 3) < 0.06
    assert rows.attributes["position"].codes.equal(task.split("train").data.attributes["position"].codes)


def test_what_could_tell_of_the_old_values_is_dropped(task: TaskData) -> None:
    train = task.split("train").data
    assert "agreement" in train.attributes
    assert set(with_factors_drawn_anew(task, train, "color").attributes) == {"color", "texture", "position"}
    view = training_view(task, Needs(interventions=("color",)), Ledger())
    assert view.interventions["color"].attributes == {}
    assert view.train.attributes == {}


def test_equal_tasks_give_equal_rows(task: TaskData) -> None:
    assert torch.equal(drawn(task, "color"), drawn(MultiBias(classes=3).load(), "color"))
    assert not torch.equal(drawn(task, "color"), drawn(task, "texture"))


@pytest.mark.parametrize("names", ["colour", "label", "color*shape", "agreement"])
def test_unknown_factors_are_named(task: TaskData, names: str) -> None:
    with pytest.raises(UserError, match="unknown factor") as caught:
        drawn(task, names)
    assert "\n" not in str(caught.value)


def test_a_task_that_cannot_draw_is_refused_in_one_line() -> None:
    plain = dataclasses.replace(toy_task(), render=None)
    assert factors_of(plain) == ()
    with pytest.raises(UserError, match="method needs rows drawn anew with another attribute") as caught:
        drawn(plain, "attribute")
    assert "\n" not in str(caught.value)


def test_a_factor_of_one_value_is_refused() -> None:
    with pytest.raises(UserError, match="one value only"):
        drawn(ColoredDigits(palette="grey").load(), "color")
