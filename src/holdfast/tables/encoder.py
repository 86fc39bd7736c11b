"""Turning a table's feature columns into numbers, as learnt on its training rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from holdfast.core.errors import UserError, unknown_name
from holdfast.tables.columns import (
    BooleanColumn,
    CategoricalColumn,
    ColumnEncoder,
    DateColumn,
    Features,
    NumericColumn,
)
from holdfast.tables.free_text import FreeTextColumn
from holdfast.tables.parse import column_kind

_CLASSES: dict[str, type[Any]] = {
    "numeric": NumericColumn,
    "boolean": BooleanColumn,
    "categorical": CategoricalColumn,
    "date": DateColumn,
    "free text": FreeTextColumn,
}
_KINDS = {cls: kind for kind, cls in _CLASSES.items()}
_REASONS = {
    "empty": "no value in the training rows",
    "constant": "one value in the training rows, or only rare ones",
    "identifier": "short text that hardly repeats",
    "rare words": "text whose words hardly repeat",
    "unclear date": "dates of which the day or the month may come first; write them as 2020-12-31",
    "nested": "lists, records or bytes",
    "unsupported": "a type that is neither number, category, boolean nor date",
}


@dataclass(frozen=True)
class LeftOut:
    """A column that is not used, and why: a key of ``_REASONS``."""

    name: str
    reason: str


@dataclass(frozen=True)
class Encoder:
    """The transforms of the feature columns, in order; numbers and texts only, so that JSON holds all of it.

    Attributes:
        columns: One per column in use.
        left_out: The others.
    """

    columns: tuple[ColumnEncoder, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """(F,) names of the outputs."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def notes(self) -> tuple[str, ...]:
        """One-line remarks for the report: columns left out, levels pooled, text taken as missing."""
        listed = {reason: [repr(left.name) for left in self.left_out if left.reason == reason] for reason in _REASONS}
        left_out = [f"left out, {_REASONS[why]}: {', '.join(names)}" for why, names in listed.items() if names]
        return (*left_out, *(column.note for column in self.columns if column.note))

    def transform(self, frame: pd.DataFrame) -> Features:
        """The rows as numbers; further columns of the table are ignored.

        Args:
            frame: N rows, with the columns of the training table.

        Returns:
            (N, F) float32, finite.

        Raises:
            UserError: A column is absent, has infinite values or holds nothing of the kind it held in training.
        """
        out = np.zeros((len(frame), len(self.feature_names)), dtype=np.float32)
        start = 0
        for column in self.columns:
            stop = start + len(column.feature_names)
            column.write(_column(frame, column.name), out[:, start:stop])
            start = stop
        return out

    def inputs(self, frame: pd.DataFrame) -> Tensor:
        """The same as a tensor."""
        return torch.from_numpy(self.transform(frame))

    def to_json(self) -> str:
        """All of it as JSON; :meth:`from_json` gives an equal encoder back."""
        columns = [{"kind": _KINDS[type(column)], **_fields(column)} for column in self.columns]
        return json.dumps({"columns": columns, "left_out": [_fields(left) for left in self.left_out]}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Encoder:
        """The encoder that :meth:`to_json` wrote.

        Raises:
            UserError: The text is damaged.
        """
        try:
            saved = json.loads(text)
            columns = tuple(_build(_CLASSES[entry.pop("kind")], entry) for entry in saved["columns"])
            return cls(columns, tuple(_build(LeftOut, entry) for entry in saved["left_out"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError("the stored encoder is damaged: remove its folder and run again") from None


def fit_encoder(
    frame: pd.DataFrame, feature_columns: Sequence[str], *, min_level_count: int = 5, max_levels: int = 64
) -> Encoder:
    """Learn how to turn feature columns into numbers.

    Args:
        frame: The N training rows, and no others.
        feature_columns: Which columns to use.
        min_level_count: Levels of a category with fewer rows are pooled as ``other``; words of free text in fewer rows
            are left out.
        max_levels: Of each category so many levels, the most frequent, have an output of their own.

    Raises:
        UserError: A column does not exist or has infinite values, there are no rows, or no column can be used.

    >>> table = pd.DataFrame({"age": [30.0, 50.0, None], "ward": ["a", "b", "a"], "hospital": "north"})
    >>> encoder = fit_encoder(table, ["age", "ward", "hospital"], min_level_count=1)
    >>> encoder.feature_names
    ('age', 'age (missing)', 'ward=a', 'ward=b')
    >>> encoder.transform(table)
    array([[-1.,  0.,  1.,  0.],
           [ 1.,  0.,  0.,  1.],
           [ 0.,  1.,  1.,  0.]], dtype=float32)
    >>> encoder.notes
    ("left out, one value in the training rows, or only rare ones: 'hospital'",)
    """
    if frame.empty:
        raise UserError("there are no training rows to learn an encoder from: choose other splits")
    fitted = [_fit_column(_column(frame, name), min_level_count, max_levels) for name in feature_columns]
    columns = tuple(column for column in fitted if not isinstance(column, LeftOut))
    encoder = Encoder(columns, tuple(column for column in fitted if isinstance(column, LeftOut)))
    if not columns:
        raise UserError("no feature column can be used" + "".join(f" ({note})" for note in encoder.notes))
    return encoder


def _fit_column(series: pd.Series, min_level_count: int, max_levels: int) -> ColumnEncoder | LeftOut:
    kind = column_kind(series, max_levels)
    column: ColumnEncoder | None
    match kind:
        case "numeric":
            column = NumericColumn.fit(series)
        case "boolean":
            column = BooleanColumn.fit(series)
        case "date":
            column = DateColumn.fit(series)
        case "categorical":
            column = CategoricalColumn.fit(series, min_level_count, max_levels)
        case "free text":
            return FreeTextColumn.fit(series, min_level_count) or LeftOut(str(series.name), "rare words")
        case _:
            return LeftOut(str(series.name), kind)
    return column or LeftOut(str(series.name), "constant")


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame:
        raise unknown_name("column", name, map(str, frame.columns))
    return frame[name]


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _build(cls: type[Any], entry: dict[str, Any]) -> Any:
    """An instance from JSON values; lists become tuples. A wrong type is refused: later it would be a traceback."""
    value = cls(**{name: tuple(item) if isinstance(item, list) else item for name, item in entry.items()})
    for field in dataclasses.fields(value):
        if _json_type(getattr(value, field.name)) != field.type:
            raise TypeError(field.name)
    return value


def _json_type(item: Any) -> str:
    """The annotation of a field that holds ``item``."""
    if isinstance(item, tuple):
        kinds = {type(part).__name__ for part in item} or {"str"}
        return f"tuple[{'|'.join(sorted(kinds))}, ...]"
    return type(item).__name__
