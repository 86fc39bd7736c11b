"""Swaps: rows get what other rows have in one column or factor, and keep everything else.

A swap between rows of one environment changes nothing in the distribution of either part; it only cuts what ties the
one to the other and to the label. What a model loses by it is what it draws from that part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.interventions import factors_of
from holdfast.core.task import TaskData
from holdfast.perturbations.image_parts import image_swaps

if TYPE_CHECKING:
    import pandas as pd

MOST_INPUTS = 64

Draw = Callable[[Mapping[str, Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class Swap:
    """One part of a row that rows can exchange.

    Attributes:
        part: Its name: a column, a factor, or a part of a picture.
        apply: ``(rows, donors) -> rows``: the N rows, each with the part of the row at its donor's position, (N,). Rows
            are what :func:`exchangeable` gives; swaps of one task apply after each other.
    """

    part: str
    apply: Callable[[Any, Tensor], Any]


def exchangeable(task: TaskData, rows: Dataset) -> tuple[Dataset | pd.DataFrame, tuple[Swap, ...]]:
    """Rows as they are exchanged, and what a task allows to exchange between them.

    Exact exchanges where the task draws rows, otherwise the columns of its table, the parts of its pictures, or the
    entries of vectors of at most 64 numbers; none where it has nothing of these.
    """
    if task.render is not None:
        return rows, tuple(_factor(task.render, factor) for factor in factors_of(task))
    if task.raw is not None:
        return task.raw.rows(rows.index), tuple(_column(str(name)) for name in task.raw.frame.columns)
    if len(rows.input_shape) == 3:
        return rows, tuple(Swap(part, _on_inputs(change)) for part, change in image_swaps(rows.input_shape).items())
    if len(rows.input_shape) == 1 and rows.input_shape[0] <= MOST_INPUTS:
        return rows, tuple(Swap(f"input {k}", _on_inputs(_entry(k))) for k in range(rows.input_shape[0]))
    return rows, ()


def _column(name: str) -> Swap:
    def apply(frame: pd.DataFrame, donors: Tensor) -> pd.DataFrame:
        return frame.assign(**{name: frame[name].array[donors.numpy()]})

    return Swap(name, apply)


def _factor(draw: Draw, name: str) -> Swap:
    """Rows are drawn again, each with its own nuisance."""

    def apply(rows: Dataset, donors: Tensor) -> Dataset:
        changed = {**rows.attributes, name: rows.attributes[name].take(donors)}
        codes = {"label": rows.labels, **{factor: column.codes for factor, column in changed.items()}}
        return dataclasses.replace(rows, x=draw(codes, rows.index), attributes=changed)

    return Swap(name, apply)


def _entry(place: int) -> Callable[[Tensor, Tensor], Tensor]:
    def change(x: Tensor, donors: Tensor) -> Tensor:
        changed = x.clone()
        changed[:, place] = donors[:, place]
        return changed

    return change


def _on_inputs(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Dataset, Tensor], Dataset]:
    def apply(rows: Dataset, donors: Tensor) -> Dataset:
        x = rows.batch().x
        assert isinstance(x, Tensor)
        return dataclasses.replace(rows, x=change(x, x[donors]))

    return apply
