"""Copies of rows in which some factors are drawn anew, for methods that are told which factors may not matter."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.seeds import torch_rng

if TYPE_CHECKING:
    from holdfast.core.task import TaskData


def factors_of(task: TaskData) -> tuple[str, ...]:
    """The factors beside the label that a task can draw rows from; none where it cannot draw rows."""
    if task.render is None:
        return ()
    return tuple(task.associations) or tuple(task.splits[0].data.attributes)


def with_factors_drawn_anew(task: TaskData, rows: Dataset, names: str) -> Dataset:
    """The same rows, in the same order and with the same noise, some factors drawn uniformly from all their values.

    A row's new values do not depend on its label nor on anything else of it. Equal tasks and names give equal rows. Of
    the attributes only factors are kept, because others may say something of the old values.

    Args:
        task: It can render the factors.
        rows: Of the task, with all their columns.
        names: Factors joined by ``*``.

    Raises:
        UserError: As :func:`check_intervention`.
    """
    check_intervention(task, names)
    assert task.render is not None, "checked"
    columns = {name: rows.column(name) for name in factors_of(task)}
    for name in _parts(names):
        columns[name] = _drawn(columns[name], torch_rng(0, "intervention", names, name))
    codes = {name: column.codes for name, column in columns.items()}
    x = task.render({"label": rows.labels, **codes}, rows.index)
    return dataclasses.replace(rows, x=x, attributes=columns)


def check_intervention(task: TaskData, names: str, *, what: str = "intervention") -> None:
    """Refuse to draw factors anew where the task cannot.

    Raises:
        UserError: The task draws no rows, has no such factor, or the factor has one value only.
    """
    if task.render is None:
        raise UserError(
            f"{what} needs rows drawn anew with another {names}: this task cannot draw rows; use one that can, such as "
            "multi-bias, or leave it out"
        )
    known = factors_of(task)
    for name in _parts(names):
        if name not in known:
            raise unknown_name("factor", name, known)
        if len(task.splits[0].data.column(name).names) < 2:
            raise UserError(
                f"{what}: factor {name!r} has one value only, so that nothing can be drawn anew: leave it out"
            )


def _parts(names: str) -> list[str]:
    return [name.strip() for name in names.split("*")]


def _drawn(column: Column, rng: torch.Generator) -> Column:
    return dataclasses.replace(column, codes=torch.randint(len(column.names), (len(column),), generator=rng))
