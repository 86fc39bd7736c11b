"""A table of one's own as a task: a CSV or Parquet file with a label and an environment column."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from holdfast.core.errors import UserError, unknown_name
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import RawTable, Task, TaskData
from holdfast.tasks.arrangement import Arrangement, Rows, everything
from holdfast.tasks.image_overview import image_grid
from holdfast.tasks.table_inputs import RowInputs, inputs_of, tokens_of_text
from holdfast.tasks.table_splits import Parts
from holdfast.tasks.targets import usual_model

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from holdfast.tables import ColumnRoles


@register(name="table")
@dataclass(frozen=True, kw_only=True)
class TableFile(Task):
    r"""A CSV or Parquet file, or a folder of them; rows come from environments and have a label.

    Where a feature column holds encoded images, as in data sets of the Hugging Face hub, they are the inputs:
    (N, C, H, W) in [0, 1], as of a folder of images; more than 64 MiB of them are decoded when a batch needs them.
    Otherwise inputs are the features as numbers.

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
        size: Height and width of pictures; None for their own where it is common to all, else 64.
        tokenizer: Folder of a tokenizer of Hugging Face's transformers, or ``OWNER/NAME`` on the hub: the one column of
            text is the input, as tokens, and the usual network is the backbone that lies there.
        max_tokens: Tokens of a row at most, where there is a tokenizer.
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
    size: Annotated[int | None, Range(low=1, high=4096)] = None
    tokenizer: str | None = None
    max_tokens: Annotated[int, Range(low=1)] = 128
    data_seed: int = 0

    def load(self) -> TaskData:
        rows = self._rows()
        return self._task_data(rows, self._arrangement.parts(rows))

    def whole(self) -> TaskData:
        if self._arrangement.is_fixed:
            return self.load()
        rows = self._rows()
        return self._task_data(rows, everything(rows))

    def _task_data(self, rows: Rows, parts: Parts) -> TaskData:
        """The rows in their parts; what is learnt for encoding is learnt on the first of them."""
        inputs = self._inputs(rows.frame, self._features(rows.frame), parts.train)
        task = self._arrangement.task_data(
            rows,
            parts,
            inputs.x,
            model=usual_model(rows.kind, rows.label[parts.train], inputs.network),
            steps=1000,
            batch_size=32 if self.tokenizer else 256,
            notes=inputs.notes,
            encoder=inputs.encoder,
            raw=_raw(rows, {self.label, self.split}, inputs.features) if inputs.encoder else None,
        )
        return task if inputs.encoder else dataclasses.replace(task, pictures=(*task.pictures, image_grid(task)))

    def _inputs(self, frame: pd.DataFrame, features: tuple[str, ...], train: Tensor) -> RowInputs:
        if self.tokenizer is None:
            return inputs_of(frame, features, train, self.path, self.size)
        if self.size is not None:
            raise UserError("--size is for pictures and --tokenizer for text: give one of them")
        return tokens_of_text(frame, features, train, self.path, self.tokenizer, self.max_tokens)

    def folds(self) -> Sequence[TableFile]:
        if self._arrangement.is_fixed:
            return (self,)
        held_out = self._arrangement.in_turn(self._rows())
        return tuple(dataclasses.replace(self, holdout_environment=names) for names in held_out)

    def columns(self) -> list[str]:
        """The columns of the table."""
        from holdfast.tables import read_table

        return list(map(str, read_table(self.path).columns))

    @property
    def title(self) -> str:
        path = Path(self.path)
        shard = re.fullmatch(r".+-\d+-of-\d+|train|test|data", path.stem)
        return f"{path.absolute().parent.name}/{path.name}" if shard else path.name

    @property
    def question(self) -> str:
        return self._arrangement.question

    @property
    def fold_name(self) -> str:
        return ", ".join(self._arrangement.held_out)

    @property
    def _arrangement(self) -> Arrangement:
        return Arrangement(
            roles=self._roles(),
            title=self.title,
            stream=self.name,
            holdout_environment=self.holdout_environment,
            kind=self.kind,
            min_environment_rows=self.min_environment_rows,
            data_seed=self.data_seed,
        )

    def _rows(self) -> Rows:
        from holdfast.tables import read_with_notes

        return self._arrangement.rows(*read_with_notes(self.path))

    def _roles(self) -> ColumnRoles:
        from holdfast.tables import ColumnRoles

        for role in ("label", "environment", "split"):
            if getattr(self, role) in self.drop:
                raise UserError(f"column {getattr(self, role)!r} is both --{role} and --drop: give it one of them")
        return ColumnRoles(self.label, self.environment, self.group, self.unit, self.weight, self.split)

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


def _raw(rows: Rows, hidden: set[str | None], features: tuple[str, ...]) -> RawTable:
    shown = rows.frame[[name for name in rows.frame.columns if name not in hidden]]
    return RawTable(shown.set_axis(rows.index.numpy(), axis=0), features)
