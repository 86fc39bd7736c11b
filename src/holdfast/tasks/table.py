"""A table of one's own as a task: a CSV or Parquet file with a label and an environment column."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Tensor

from holdfast.core.artifacts import Artifact
from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Kind, RawTable, Split, Task, TaskData
from holdfast.core.words import count
from holdfast.tasks.pictures import examples
from holdfast.tasks.table_inputs import inputs_of
from holdfast.tasks.table_overview import environment_table
from holdfast.tasks.table_splits import Part, Parts, balanced_folds, parts_by_column, parts_by_environment
from holdfast.tasks.targets import target_scale, usual_model

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.tables import ColumnRoles

MAX_SINGLE_FOLDS = 10
GROUPED_FOLDS = 5
_LARGEST = 1e18


@register(name="table")
@dataclass(frozen=True, kw_only=True)
class TableFile(Task):
    r"""A CSV or Parquet file, or a folder of them; rows come from environments and have a label.

    Where a feature column holds encoded images, as in data sets of the Hugging Face hub, they are the inputs:
    (N, C, H, W) in [0, 1]. Otherwise inputs are the features as numbers.

    Without ``split`` and ``holdout_environment`` every environment is held out in turn (:meth:`folds`), over ten
    environments in five groups of nearly equal size; what was pooled as ``rare`` is no environment and only trained on.
    In each fold ``test`` holds all rows of the environments held
    out; the units of the others are dealt at random, evenly over environments and classes: 60 % train, 15 %
    selection, 10 % holdout, 15 % test-same. Loaded itself, such a task has no ``test``.

    Features are all columns without a role, encoded as learnt on the training rows. The environment column is none,
    since what it tells of one environment says nothing in another; group columns are none, since evaluations ask how
    a model treats the groups, unless ``group_features`` or ``features`` says so. A regression model gives values in
    the units of the label: its last layer holds the training mean and standard deviation. Row ids are positions in
    the table, from 0.

    Attributes:
        path: The file or folder.
        label: Column to predict.
        environment: Column that tells environments apart; rows without a value are left out.
        group: Columns by whose combinations evaluations are broken down.
        unit: Column of rows that belong together, such as a patient; a unit is never split.
        weight: Column of non-negative row weights.
        split: Column that says what a row is for: train, selection (or validation, val, dev), holdout, calibration,
            unlabelled, pool, test.
        holdout_environment: Environments to test on, joined by ``|``; a ``|`` within a name is written ``\|``.
        kind: What the label is; ``auto`` infers it.
        min_environment_rows: Smaller environments are pooled as ``rare``.
        features: The feature columns; None for all that have no role.
        drop: Columns that are not features.
        group_features: Whether group columns are features, too.
        data_seed: Fixes the splits.
    """

    path: str
    label: str
    environment: str
    group: tuple[str, ...] = ()
    unit: str | None = None
    weight: str | None = None
    split: str | None = None
    holdout_environment: str | None = None
    kind: Literal["auto", "classification", "regression"] = "auto"
    min_environment_rows: Annotated[int, Range(low=1)] = 10
    features: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    group_features: bool = False
    data_seed: int = 0

    def load(self) -> TaskData:
        rows = self._read()
        label, classes = _label(rows.frame[self.label], rows.kind)
        chosen = self._parts(rows, label, classes)
        return self._task_data(rows, label, classes, chosen)

    def whole(self) -> TaskData:
        if self.split or self.holdout_environment:
            return self.load()
        rows = self._read()
        label, classes = _label(rows.frame[self.label], rows.kind)
        return self._task_data(rows, label, classes, Parts((Part("data", "test", torch.arange(len(label))),)))

    def _task_data(self, rows: _Rows, label: Tensor, classes: tuple[str, ...], chosen: Parts) -> TaskData:
        """The rows in their parts; what is learnt for encoding is learnt on the first of them."""
        train = chosen.parts[0].rows
        tested = torch.cat([part.rows for part in chosen.parts if part.shifted] or [train[:0]])
        features = self._features(rows.frame)
        inputs = inputs_of(rows.frame, features, train, self.path)
        data = Dataset(
            x=inputs.x,
            y=label,
            environment=rows.environment,
            attributes={name: _column(rows.frame[name]) for name in self.group},
            unit=None if rows.unit is None else rows.unit.codes,
            weight=None if self.weight is None else _numbers(rows.frame[self.weight]),
            index=rows.index,
        )
        splits = tuple(Split(part.name, part.role, data.take(part.rows), part.shifted) for part in chosen.parts)
        pictures: list[Artifact] = [environment_table(data, self.label, classes, tested)]
        if classes and not inputs.encoder:
            pictures.append(examples(splits, "label", classes))
        return TaskData(
            kind=rows.kind,
            splits=splits,
            model=usual_model(rows.kind, label[train], inputs.network),
            steps=1000,
            batch_size=256,
            target_scale=target_scale(rows.kind, label[train]),
            classes=classes,
            groups=self.group,
            question=self._question(),
            notes=(*self._role_notes(), *rows.notes, *chosen.notes, *inputs.notes, *_unseen(classes, label[train])),
            pictures=tuple(pictures),
            encoder=inputs.encoder,
            raw=_raw(rows, {self.label, self.split}, features) if inputs.encoder else None,
        )

    def folds(self) -> Sequence[TableFile]:
        if self.split or self.holdout_environment:
            return (self,)
        rows = self._read()
        own = [code for code, name in enumerate(rows.environment.names) if name != rows.pooled]
        if len(own) < 2:
            raise UserError(
                f"only {rows.environment.names[own[0]]!r} has {self.min_environment_rows} rows or more, and one "
                "environment cannot be held out from others: name a coarser column as --environment or lower "
                "--min-environment-rows"
            )
        grouped = len(own) > MAX_SINGLE_FOLDS
        sizes = torch.bincount(rows.environment.codes, minlength=len(rows.environment.names))[own]
        groups = balanced_folds(sizes, GROUPED_FOLDS if grouped else len(own))
        names = [rows.environment.names[code].replace("|", r"\|") for code in own]
        held_out = ["|".join(names[member] for member in group) for group in sorted(groups)]
        return tuple(dataclasses.replace(self, holdout_environment=names) for names in held_out)

    @property
    def title(self) -> str:
        path = Path(self.path)
        shard = re.fullmatch(r".+-\d+-of-\d+|train|test|data", path.stem)
        return f"{path.absolute().parent.name}/{path.name}" if shard else path.name

    @property
    def question(self) -> str:
        return (
            f"Can {self.label!r} be predicted from {self.title} where {self.environment!r} has a value that training "
            "has not seen?"
        )

    @property
    def fold_name(self) -> str:
        return ", ".join(self._held_out_names())

    def _role_notes(self) -> tuple[str, ...]:
        """What the environments, groups, units and weights are, in words for the report."""
        notes = [f"environments are the values of {self.environment!r}"]
        if self.group:
            of = "the combinations of " if len(self.group) > 1 else "the values of "
            notes.append(f"groups are {of}{' and '.join(map(repr, self.group))}")
        if self.unit is not None:
            notes.append(f"rows with the same {self.unit!r} are one unit: never split, and resampled together")
        if self.weight is not None:
            notes.append(f"rows are weighted by {self.weight!r}: in training, in selection and in every number below")
        return tuple(notes)

    def _held_out_names(self) -> list[str]:
        names = re.split(r"(?<!\\)\|", self.holdout_environment) if self.holdout_environment else []
        return [name.replace(r"\|", "|") for name in names]

    def _read(self) -> _Rows:
        """The rows whose environment is known.

        Raises:
            UserError: Options contradict each other, or the file does not hold what they say.
        """
        from holdfast.tables import check_roles, infer_kind, read_with_notes

        roles = self._roles()
        frame, reading = read_with_notes(self.path)
        notes = list(reading + check_roles(frame, roles, None if self.kind == "auto" else self.kind))
        kind = infer_kind(frame[self.label]) if self.kind == "auto" else self.kind
        _check_group_names(roles)
        index = torch.arange(len(frame))
        for why, used in self._usable(frame):
            if not used.all():
                notes.append(f"left out, {why}: {count(int((~used).sum()), 'row')}")
                frame, index = frame[used[index].numpy()], index[used[index]]
        environment, pooled, pooling = _pooled(_column(frame[self.environment]), self.min_environment_rows)
        unit = None if self.unit is None else _numbered(frame[self.unit])
        return _Rows(frame, index, environment, pooled, unit, kind, (*notes, *pooling))

    def _usable(self, frame: pd.DataFrame) -> list[tuple[str, Tensor]]:
        """Reasons to leave rows out, each with (N,) which rows are not left out."""
        reasons = [("without an environment", torch.tensor(frame[self.environment].notna().to_numpy()))]
        if self.weight is not None:
            reasons.append(("of weight zero", _numbers(frame[self.weight]) > 0))
        return reasons

    def _roles(self) -> ColumnRoles:
        from holdfast.tables import ColumnRoles

        if self.split and self.holdout_environment:
            raise UserError("split and holdout_environment both say what to test on: give one of them")
        for role in ("label", "environment", "split"):
            if getattr(self, role) in self.drop:
                raise UserError(f"column {getattr(self, role)!r} is both --{role} and --drop: give it one of them")
        return ColumnRoles(self.label, self.environment, self.group, self.unit, self.weight, self.split)

    def _parts(self, rows: _Rows, label: Tensor, classes: tuple[str, ...]) -> Parts:
        if self.split:
            return parts_by_column(_column(rows.frame[self.split]), rows.environment.codes, rows.unit)
        held_out = torch.tensor([name in self._held_out_names() for name in rows.environment.names])
        for name in self._held_out_names():
            if name not in rows.environment.names:
                raise unknown_name("environment to hold out", name, rows.environment.names)
        strata = rows.environment.codes * len(classes) + label if classes else rows.environment.codes
        return parts_by_environment(
            held_out[rows.environment.codes],
            strata,
            None if rows.unit is None else rows.unit.codes,
            torch_rng(self.data_seed, self.name, "splits"),
        )

    def _features(self, frame: pd.DataFrame) -> tuple[str, ...]:
        from holdfast.tables import feature_columns

        for name in (*(self.features or ()), *self.drop):
            if name not in frame:
                raise unknown_name("column", name, map(str, frame.columns))
        roles = self._roles()
        if self.features is not None:
            wrong = [name for name in self.features if name in (self.label, self.split, *self.drop)]
            if wrong or not self.features:
                raise UserError(f"features={list(self.features)}: name columns other than the label, split and drop")
            return self.features
        left_out = {*self.drop, *(["split"] if Path(self.path).is_dir() else [])}
        candidates = feature_columns(frame, dataclasses.replace(roles, group=()) if self.group_features else roles)
        return tuple(name for name in candidates if name not in left_out)

    def _question(self) -> str:
        what = f"{self.label!r} be predicted from {self.title}"
        held_out = self._held_out_names()
        if held_out:
            shown = ", ".join(held_out[:5]) + (f", … ({count(len(held_out), 'value')})" if len(held_out) > 5 else "")
            return f"Can {what} where {self.environment!r} is {shown}, when training sees only other values?"
        if self.split:
            return f"Can {what} on the test rows of {self.split!r}, for every {self.environment!r}?"
        return f"Can {what} for every {self.environment!r} of the training?"


@dataclass(frozen=True)
class _Rows:
    """The usable rows of a file.

    Attributes:
        index: (N,) their positions in it.
        pooled: Name of the environment that holds the rare ones, if there are such.
    """

    frame: pd.DataFrame
    index: Tensor
    environment: Column
    pooled: str | None
    unit: Column | None
    kind: Kind
    notes: tuple[str, ...]


def _raw(rows: _Rows, hidden: set[str | None], features: tuple[str, ...]) -> RawTable:
    shown = rows.frame[[name for name in rows.frame.columns if name not in hidden]]
    return RawTable(shown.set_axis(rows.index.numpy(), axis=0), features)


def _column(series: pd.Series) -> Column:
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
    column = _column(series)
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
