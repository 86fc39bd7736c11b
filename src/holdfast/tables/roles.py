"""Which column plays which part, and whether it can."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from holdfast.core.errors import UserError, unknown_name
from holdfast.tables.codes import name_codes
from holdfast.tables.parse import parse_numbers

if TYPE_CHECKING:
    import numpy.typing as npt

    from holdfast.core.task import Kind

MAX_CLASSES = 1000
FEW_VALUES = 20
"""Whole numbers with at most so many distinct values are classes, unless the user says otherwise."""

_MAY_SHARE = ({"label", "group"}, {"environment", "group"}, {"environment", "unit"}, {"group", "unit"})
_COMPLETE = ("label", "unit", "weight", "split")


@dataclass(frozen=True)
class ColumnRoles:
    """Names of the columns of a table that are not features.

    Attributes:
        label: What is predicted.
        environment: The sub-population of a row.
        group: Further columns by which evaluations are broken down.
        unit: Rows with one value belong together and are never split.
        weight: Non-negative row weights.
        split: The part of the data a row was assigned to.
    """

    label: str
    environment: str
    group: tuple[str, ...] = ()
    unit: str | None = None
    weight: str | None = None
    split: str | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Pairs of role and column name, for the roles that are given."""
        single = [(role, getattr(self, role)) for role in ("label", "environment", "unit", "weight", "split")]
        yield from ((role, column) for role, column in single if column is not None)
        yield from (("group", column) for column in self.group)


def feature_columns(frame: pd.DataFrame, roles: ColumnRoles) -> tuple[str, ...]:
    """The columns without a role, in the table's order.

    Raises:
        UserError: None is left.

    >>> feature_columns(pd.DataFrame(columns=["age", "ward", "died"]), ColumnRoles("died", "ward"))
    ('age',)
    """
    taken = {column for _, column in roles}
    features = tuple(name for name in frame.columns if name not in taken)
    if not features:
        raise UserError("every column has a role: the table needs feature columns besides")
    return features


def infer_kind(label: pd.Series) -> Kind:
    """Classification or regression, from the label column.

    Booleans, text and categories are classes. So are whole numbers (stored as integers or as floats) with at most
    20 distinct values. All other numbers are regression targets.

    >>> infer_kind(pd.Series([0.0, 1.0, 1.0])), infer_kind(pd.Series([0.5, 1.0]))
    ('classification', 'regression')
    """
    if not pd.api.types.is_numeric_dtype(label.dtype) or pd.api.types.is_bool_dtype(label.dtype):
        return "classification"
    values = pd.unique(parse_numbers(label.dropna()))
    whole = np.isfinite(values) & (values == np.floor(values))
    return "classification" if len(values) <= FEW_VALUES and whole.all() else "regression"


def check_roles(frame: pd.DataFrame, roles: ColumnRoles, kind: Kind | None = None) -> tuple[str, ...]:
    """Check that the columns exist and can play their parts.

    Rows are counted from 1, the header aside.

    Args:
        frame: (N, F) the table.
        roles: Who plays what.
        kind: What the label is; None leaves it to :func:`infer_kind`.

    Returns:
        One-line remarks for the report, such as rows whose environment is missing and thus unknown (−1).

    Raises:
        UserError: A column is missing, repeated, in two contradictory roles, or does not fit its role.

    >>> table = pd.DataFrame({"age": [61, 48, 50], "ward": ["a", "b", None], "died": [0, 1, 1]})
    >>> check_roles(table, ColumnRoles("died", "ward"))
    ("environment 'ward' is missing in 1 row (row 3): unknown there",)
    >>> check_roles(table, ColumnRoles("dyed", "ward"))
    Traceback (most recent call last):
    holdfast.core.errors.UserError: unknown label column 'dyed': did you mean 'died'?
    """
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"more than one column is named {repeated!r}: rename them")
    _check_contradictions(roles)
    for role, column in roles:
        if column not in frame:
            raise unknown_name(f"{role} column", column, map(str, frame.columns))
        _check_values(role, frame[column])
    _check_label(frame[roles.label], kind)
    if roles.weight is not None:
        _check_weight(frame[roles.weight])
    unknown = ((role, frame[column].isna()) for role, column in roles if role not in _COMPLETE)
    return tuple(
        f"{role} {missing.name!r} is missing in {_rows(missing.to_numpy())}: unknown there"
        for role, missing in unknown
        if missing.any()
    )


def _check_contradictions(roles: ColumnRoles) -> None:
    for (role, column), (other, twin) in itertools.combinations(roles, 2):
        if column == twin and {role, other} not in _MAY_SHARE:
            raise UserError(f"column {column!r} is both --{role} and --{other}: name another column for one of them")


def _check_values(role: str, column: pd.Series) -> None:
    missing = column.isna().to_numpy()
    if missing.any() and role in _COMPLETE:
        raise UserError(f"{role} {column.name!r} is missing in {_rows(missing)}: drop these rows or fill them")
    distinct = len(name_codes(column)[1])
    if distinct < 2 and role in ("label", "environment"):
        only = f"one value only ({str(column.dropna().iloc[0])!r})" if distinct else "no values"
        raise UserError(f"{role} {column.name!r} has {only}: name another column as --{role}")


def _check_label(label: pd.Series, kind: Kind | None) -> None:
    numbers = parse_numbers(label)
    numeric = not np.isnan(numbers).any()
    if (kind or infer_kind(label)) == "classification":
        classes = label.nunique()
        if classes > min(MAX_CLASSES, max(2, len(label) / 2)):
            mend = "try --kind regression" if numeric else "name a column with fewer values as --label"
            raise UserError(f"label {label.name!r} has {classes:,} classes in {len(label):,} rows: {mend}")
    elif not numeric:
        example = label[np.isnan(numbers)].iloc[0]
        raise UserError(
            f"label {label.name!r} is not a number everywhere ({str(example)!r}): try --kind classification"
        )
    elif np.isinf(numbers).any():
        raise UserError(f"label {label.name!r} is infinite in {_rows(np.isinf(numbers))}: drop or mend these rows")


def _check_weight(weight: pd.Series) -> None:
    numbers = parse_numbers(weight)
    bad = ~np.isfinite(numbers) | (numbers < 0)
    if bad.any():
        raise UserError(f"weight {weight.name!r} is negative, infinite or no number in {_rows(bad)}: mend these rows")
    if not numbers.any():
        raise UserError(f"weight {weight.name!r} is zero in every row: some rows need a positive weight")


def _rows(mask: npt.NDArray[np.bool_]) -> str:
    """How many rows, and the first of them.

    >>> _rows(np.array([True, False, True]))
    '2 rows (rows 1, 3)'
    """
    places = np.flatnonzero(mask) + 1
    shown = ", ".join(f"{place:,}" for place in places[:3]) + (", …" if len(places) > 3 else "")
    count = f"{len(places):,} row" + "s" * (len(places) > 1)
    return f"{count} ({'rows' if len(places) > 1 else 'row'} {shown})"
