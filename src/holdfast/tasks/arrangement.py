"""Rows described by columns with roles, arranged into a task: what every kind of data of one's own has in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset, StoredInputs
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Kind, Split, TaskData
from holdfast.core.words import count
from holdfast.tasks.table_overview import environment_table
from holdfast.tasks.table_splits import Part, Parts, balanced_folds, parts_by_column, parts_by_environment
from holdfast.tasks.targets import target_scale

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.tables import ColumnRoles

MAX_SINGLE_FOLDS = 10
GROUPED_FOLDS = 5
_LARGEST = 1e18


@dataclass(frozen=True)
class Rows:
    """The usable rows of a table.

    Attributes:
        frame: (N, F) the table.
        index: (N,) their positions in all that was read.
        environment: (N,) where each came from.
        pooled: Name of the environment that holds the rare ones, if there are such.
        label: (N,) classes or targets.
        classes: (C,) names; empty for targets.
        unit: (N,) rows that belong together, or None.
        kind: What the label is.
        notes: Remarks for the report.
    """

    frame: pd.DataFrame
    index: Tensor
    environment: Column
    pooled: str | None
    label: Tensor
    classes: tuple[str, ...]
    unit: Column | None
    kind: Kind
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    r"""Which column says what of a row, and what is held out.

    Attributes:
        roles: The columns.
        title: What the data are called.
        stream: Names the random stream of the splits, with ``data_seed``.
        holdout_environment: Environments to test on, joined by ``|``; a ``|`` within a name is written ``\|``.
        kind: What the label is; ``auto`` infers it.
        min_environment_rows: Smaller environments are pooled as ``rare``.
        data_seed: Fixes the splits.
    """

    roles: ColumnRoles
    title: str
    stream: str
    holdout_environment: str | None
    kind: Literal["auto", "classification", "regression"]
    min_environment_rows: int
    data_seed: int

    def rows(self, frame: pd.DataFrame, notes: Iterable[str] = ()) -> Rows:
        """The rows whose environment is known and whose weight is not zero.

        Args:
            frame: (N, F) the table.
            notes: Remarks on its reading.

        Raises:
            UserError: Roles contradict each other, or the table does not hold what they say.
        """
        from holdfast.tables import check_roles, infer_kind

        if self.roles.split and self.holdout_environment:
            raise UserError("split and holdout_environment both say what to test on: give one of them")
        told = [*notes, *check_roles(frame, self.roles, None if self.kind == "auto" else self.kind)]
        kind = infer_kind(frame[self.roles.label]) if self.kind == "auto" else self.kind
        _check_group_names(self.roles)
        index = torch.arange(len(frame))
        for why, used in self._usable(frame):
            if not used.all():
                told.append(f"left out, {why}: {count(int((~used).sum()), 'row')}")
                frame, index = frame[used[index].numpy()], index[used[index]]
        environment, pooled, pooling = _pooled(column_of(frame[self.roles.environment]), self.min_environment_rows)
        label, classes = _label(frame[self.roles.label], kind)
        unit = None if self.roles.unit is None else _numbered(frame[self.roles.unit])
        return Rows(frame, index, environment, pooled, label, classes, unit, kind, (*told, *pooling))

    def parts(self, rows: Rows) -> Parts:
        """Which rows are for what.

        Raises:
            UserError: What is to be held out is not there, or nothing is left to train on.
        """
        if self.roles.split:
            return parts_by_column(column_of(rows.frame[self.roles.split]), rows.environment.codes, rows.unit)
        names = rows.environment.names
        for name in self.held_out:
            if name not in names:
                raise unknown_name("environment to hold out", name, names)
        held_out = torch.tensor([name in self.held_out for name in names])
        strata = rows.environment.codes * len(rows.classes) + rows.label if rows.classes else rows.environment.codes
        return parts_by_environment(
            held_out[rows.environment.codes],
            strata,
            None if rows.unit is None else rows.unit.codes,
            torch_rng(self.data_seed, self.stream, "splits"),
        )

    def task_data(
        self, rows: Rows, parts: Parts, x: StoredInputs, *, notes: Iterable[str] = (), **more: Any
    ) -> TaskData:
        """The task of these rows.

        Args:
            rows: N of them.
            parts: What they are for.
            x: (N, …) their inputs.
            notes: Further remarks, after those on the rows and parts.
            more: Further fields of :class:`~holdfast.core.task.TaskData`.
        """
        data = self._dataset(rows, x)
        train = rows.label[parts.train]
        tested = torch.cat([part.rows for part in parts.parts if part.shifted] or [parts.train[:0]])
        return TaskData(
            kind=rows.kind,
            splits=tuple(Split(part.name, part.role, data.take(part.rows), part.shifted) for part in parts.parts),
            target_scale=target_scale(rows.kind, train),
            classes=rows.classes,
            groups=self.roles.group,
            question=self._fold_question(),
            notes=(*self._role_notes(), *rows.notes, *parts.notes, *notes, *_unseen(rows.classes, train)),
            pictures=(environment_table(data, self.roles.label, rows.classes, tested),),
            **more,
        )

    def in_turn(self, rows: Rows) -> tuple[str, ...]:
        """What is held out in each fold so that every environment has its turn, as ``holdout_environment`` is written.

        Raises:
            UserError: Fewer than two environments are large enough.
        """
        names = rows.environment.names
        own = [code for code, name in enumerate(names) if name != rows.pooled]
        if len(own) < 2:
            raise UserError(
                f"only {names[own[0]]!r} has {self.min_environment_rows} rows or more, and one "
                "environment cannot be held out from others: name a coarser column as --environment or lower "
                "--min-environment-rows"
            )
        grouped = len(own) > MAX_SINGLE_FOLDS
        sizes = torch.bincount(rows.environment.codes, minlength=len(names))[own]
        groups = balanced_folds(sizes, GROUPED_FOLDS if grouped else len(own))
        escaped = [names[code].replace("|", r"\|") for code in own]
        return tuple("|".join(escaped[member] for member in group) for group in sorted(groups))

    @property
    def is_fixed(self) -> bool:
        """Whether it is said what to test on, so that there is one fold."""
        return bool(self.roles.split or self.holdout_environment)

    @property
    def held_out(self) -> list[str]:
        """Names of the environments to test on."""
        names = re.split(r"(?<!\\)\|", self.holdout_environment) if self.holdout_environment else []
        return [name.replace(r"\|", "|") for name in names]

    @property
    def question(self) -> str:
        """What is asked over all folds together."""
        return (
            f"Can {self.roles.label!r} be predicted from {self.title} where {self.roles.environment!r} has a value "
            "that training has not seen?"
        )

    def _fold_question(self) -> str:
        what = f"{self.roles.label!r} be predicted from {self.title}"
        environment, held_out = self.roles.environment, self.held_out
        if held_out:
            shown = ", ".join(held_out[:5]) + (f", … ({count(len(held_out), 'value')})" if len(held_out) > 5 else "")
            return f"Can {what} where {environment!r} is {shown}, when training sees only other values?"
        if self.roles.split:
            return f"Can {what} on the test rows of {self.roles.split!r}, for every {environment!r}?"
        return f"Can {what} for every {environment!r} of the training?"

    def _dataset(self, rows: Rows, x: StoredInputs) -> Dataset:
        weight = self.roles.weight
        return Dataset(
            x=x,
            y=rows.label,
            environment=rows.environment,
            attributes={name: column_of(rows.frame[name]) for name in self.roles.group},
            unit=None if rows.unit is None else rows.unit.codes,
            weight=None if weight is None else _numbers(rows.frame[weight]),
            index=rows.index,
        )

    def _role_notes(self) -> tuple[str, ...]:
        """What the environments, groups, units and weights are, in words for the report."""
        roles = self.roles
        notes = [f"environments are the values of {roles.environment!r}"]
        if roles.group:
            of = "the combinations of " if len(roles.group) > 1 else "the values of "
            notes.append(f"groups are {of}{' and '.join(map(repr, roles.group))}")
        if roles.unit is not None:
            notes.append(f"rows with the same {roles.unit!r} are one unit: never split, and resampled together")
        if roles.weight is not None:
            notes.append(f"rows are weighted by {roles.weight!r}: in training, in selection and in every number below")
        return tuple(notes)

    def _usable(self, frame: pd.DataFrame) -> list[tuple[str, Tensor]]:
        """Reasons to leave rows out, each with (N,) which rows are not left out."""
        reasons = [("without an environment", torch.tensor(frame[self.roles.environment].notna().to_numpy()))]
        if self.roles.weight is not None:
            reasons.append(("of weight zero", _numbers(frame[self.roles.weight]) > 0))
        return reasons


def everything(rows: Rows) -> Parts:
    """All rows as one test split: nothing is trained on them."""
    return Parts((Part("data", "test", torch.arange(len(rows.label))),))


def column_of(series: pd.Series) -> Column:
    """A column of a table as codes with names."""
    from holdfast.tables import encode_column

    column = encode_column(series)
    return Column(torch.tensor(column.codes), column.names)


def _numbered(series: pd.Series) -> Column:
    """Codes in order of appearance: fast where nearly every row has a value of its own."""
    import pandas as pd

    codes, names = pd.factorize(series)
    return Column(torch.tensor(codes, dtype=torch.int64), tuple(map(str, names.tolist())))


def _numbers(series: pd.Series) -> Tensor:
    """(N,) numbers in single precision, in which their squares must have room.

    Raises:
        UserError: They have not.
    """
    from holdfast.tables import parse_numbers

    numbers = torch.tensor(parse_numbers(series))
    if bool((numbers.abs() > _LARGEST).any()):
        raise UserError(f"column {series.name!r} has values beyond {_LARGEST:g}: divide it by a power of ten")
    return numbers.float()


def _label(series: pd.Series, kind: Kind) -> tuple[Tensor, tuple[str, ...]]:
    """Classes (N,) int64 with their names, or targets (N,) float32 and no names."""
    if kind == "regression":
        return _numbers(series), ()
    column = column_of(series)
    return column.codes, column.names


def _pooled(column: Column, minimum: int) -> tuple[Column, str | None, tuple[str, ...]]:
    """Environments of fewer rows than ``minimum`` as one, what that is called, and a note."""
    sizes = torch.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    rare = sizes < minimum
    if not rare.any():
        return column, None, ()
    if rare.all():
        mend = "name a coarser column as --environment or lower --min-environment-rows"
        raise UserError(f"every environment has fewer than {count(minimum, 'row')}: {mend}")
    kept = [name for name, small in zip(column.names, rare.tolist(), strict=True) if not small]
    pooled = "rare" if "rare" not in kept else "rare (pooled)"
    place = torch.full((len(sizes) + 1,), len(kept))
    place[:-1][~rare] = torch.arange(len(kept))
    place[-1] = -1
    few = f"{count(int(rare.sum()), 'environment')} of fewer than {count(minimum, 'row')}"
    in_all = count(int(sizes[rare].sum()), "row")
    note = f"pooled as {pooled!r}, which is not held out in turn: {few}, {in_all} in all"
    return Column(place[column.codes], (*kept, pooled)), pooled, (note,)


def _check_group_names(roles: ColumnRoles) -> None:
    """Groups are later named as in ``label*color``, where ``label`` and ``environment`` have their own meaning."""
    for name in roles.group:
        if "*" in name or name != name.strip():
            raise UserError(f"group column {name!r} cannot be named in a product: rename it without * and outer spaces")
        if name in ("label", "environment") and name != getattr(roles, name):
            raise UserError(f"group column {name!r} would be taken for the {name}: rename it")


def _unseen(classes: tuple[str, ...], label: Tensor) -> tuple[str, ...]:
    if not classes:
        return ()
    absent = (torch.bincount(label, minlength=len(classes)) == 0).nonzero()[:, 0].tolist()
    return tuple(f"no training row is of class {classes[code]!r}" for code in absent[:10])
