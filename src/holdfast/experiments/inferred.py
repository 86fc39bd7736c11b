"""Inferred groups: put in the place of the environments that a method sees, and compared with the columns known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from holdfast.core.artifacts import Table
from holdfast.core.data import Column, Dataset
from holdfast.core.inference import GroupInference, require_groups
from holdfast.core.task import Role, TaskData, TrainingView, concatenate

NAME = "inferred groups"


@dataclass(frozen=True)
class InferredGroups:
    """The groups of the rows that a method sees.

    Attributes:
        columns: By role, for its labelled rows.
        tables: How large the groups are, and how they agree with the columns of the task.
    """

    columns: Mapping[Role, Column]
    tables: tuple[Table, ...]

    @property
    def rows(self) -> int:
        """Of how many rows the group is known."""
        return sum(map(len, self.columns.values()))

    def put_into(self, view: TrainingView) -> TrainingView:
        """The view with the groups as environment; rows without labels are of unknown group."""
        names = next(iter(self.columns.values()))
        unknown = {role: torch.full((len(rows),), -1) for role, rows in view.data.items() if role not in self.columns}
        columns = {**self.columns, **{role: dataclasses.replace(names, codes=codes) for role, codes in unknown.items()}}
        data = {role: dataclasses.replace(rows, environment=columns[role]) for role, rows in view.data.items()}
        return dataclasses.replace(view, data=data)


def infer_groups(
    view: TrainingView, data: TaskData, inference: GroupInference, reference: nn.Module, seed: int
) -> InferredGroups:
    """Groups in place of the environments of a view, inferred once over its labelled rows of every role.

    Args:
        view: What the method would see.
        data: The task, whose columns are compared and shown to no method.
        inference: Makes the groups.
        reference: Trained.
        seed: Of whatever is random in the inference.

    Raises:
        UserError: There would be one group.
    """
    labelled = [role for role, rows in view.data.items() if rows.y is not None]
    rows = concatenate([_bare(view.data[role]) for role in labelled])
    groups = require_groups(inference.infer(rows, reference, seed), repr(inference.reference))
    parts = torch.split(groups.codes, [len(view.data[role]) for role in labelled])
    columns = {role: dataclasses.replace(groups, codes=part) for role, part in zip(labelled, parts, strict=True)}
    return InferredGroups(columns, (_sizes(groups), _agreement(groups, _in_view(data, labelled, rows))))


def adjusted_rand(one: Column, other: Column) -> float:
    """The adjusted Rand index of two groupings over the rows where both are known: 1 for equal ones, 0 by chance.

    >>> one, two = Column(torch.tensor([0, 0, 1, -1]), ("a", "b")), Column(torch.tensor([1, 1, 0, 0]), ("a", "b"))
    >>> adjusted_rand(one, two)
    1.0
    """
    from sklearn.metrics import adjusted_rand_score

    known = (one.codes >= 0) & (other.codes >= 0)
    return float(adjusted_rand_score(one.codes[known].numpy(), other.codes[known].numpy()))


def _bare(rows: Dataset) -> Dataset:
    """Without columns, which may have other names in another role."""
    return dataclasses.replace(rows, environment=Column.constant(len(rows)), attributes={})


def _in_view(data: TaskData, roles: list[Role], rows: Dataset) -> Dataset:
    """The rows of the view with all their columns, in its order."""
    every = concatenate([split.data for role in roles for split in data.with_role(role)])
    assert torch.equal(every.index, rows.index), "a view keeps the order of its task"
    return every


def _sizes(groups: Column) -> Table:
    lines = zip(groups.present(), groups.counts(), strict=True)
    return Table(NAME, ("group", "rows"), tuple((groups.names[code], rows) for code, rows in lines))


def _agreement(groups: Column, rows: Dataset) -> Table:
    """A line for each column: the adjusted Rand index over all rows, and its mean within labels."""
    return Table(
        f"{NAME} and the columns of the task",
        ("column", "adjusted Rand index", "mean within labels"),
        tuple((name, adjusted_rand(groups, column), _within(rows, groups, column)) for name, column in _columns(rows)),
        caption="1: the same groups; 0: no more alike than by chance. What was inferred did not look at these columns.",
    )


def _columns(rows: Dataset) -> Iterator[tuple[str, Column]]:
    yield from {"label": rows.column("label"), "environment": rows.environment, **rows.attributes}.items()


def _within(rows: Dataset, groups: Column, column: Column) -> float | str:
    """Weighted by rows; groups that tell a shortcut right from wrong are, within a label, the shortcut's values."""
    if torch.equal(column.codes, rows.labels):
        return ""
    each = [torch.nonzero(rows.labels == label)[:, 0] for label in set(rows.labels.tolist())]
    return sum(len(own) * adjusted_rand(groups.take(own), column.take(own)) for own in each) / len(rows)
