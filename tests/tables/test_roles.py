"""The parts that columns play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast.core.errors import UserError
from holdfast.tables import ColumnRoles, check_roles, feature_columns, infer_kind

ROWS = 40


def table(**changes: Any) -> pd.DataFrame:
    """A sound table, with some columns changed."""
    columns = {
        "age": np.arange(ROWS) * 1.5,
        "died": [0, 1] * (ROWS // 2),
        "ward": ["a", "b", "c", "d"] * (ROWS // 4),
        "sex": ["f", "m"] * (ROWS // 2),
        "patient": np.arange(ROWS) // 2,
        "importance": np.ones(ROWS),
        "part": ["train", "train", "test", "test"] * (ROWS // 4),
    }
    return pd.DataFrame({**columns, **changes})


ALL = ColumnRoles("died", "ward", ("sex",), "patient", "importance", "part")


def with_value(row: int, value: Any, column: str) -> pd.DataFrame:
    frame = table()
    frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    return frame


def complaint(frame: pd.DataFrame, roles: ColumnRoles = ALL, kind: Any = None) -> str:
    with pytest.raises(UserError) as caught:
        check_roles(frame, roles, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_table_has_no_remarks() -> None:
    assert check_roles(table(), ALL) == ()
    assert feature_columns(table(), ALL) == ("age",)


def test_every_column_taken() -> None:
    with pytest.raises(UserError, match="feature columns besides"):
        feature_columns(table().drop(columns="age"), ALL)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (ColumnRoles("dyed", "ward"), "unknown label column 'dyed': did you mean 'died'?"),
        (ColumnRoles("died", "wards"), "unknown environment column 'wards': did you mean 'ward'?"),
        (ColumnRoles("died", "ward", ("sexes",)), "unknown group column 'sexes'"),
        (ColumnRoles("died", "ward", unit="patent"), "unknown unit column 'patent'"),
        (ColumnRoles("died", "ward", weight="x"), "unknown weight column 'x'"),
        (ColumnRoles("died", "ward", split="parts"), "unknown split column 'parts'"),
        (ColumnRoles("died", "died"), "column 'died' is both --label and --environment"),
        (ColumnRoles("died", "ward", unit="died"), "'died' is both --label and --unit"),
        (ColumnRoles("died", "ward", weight="ward"), "both --environment and --weight"),
        (ColumnRoles("died", "ward", split="ward"), "both --environment and --split"),
        (ColumnRoles("died", "ward", ("sex", "sex")), "both --group and --group"),
    ],
)
def test_names_that_do_not_exist_or_contradict(roles: ColumnRoles, expected: str) -> None:
    assert expected in complaint(table(), roles)


@pytest.mark.parametrize(
    "roles",
    [
        ColumnRoles("died", "ward", ("ward", "died")),
        ColumnRoles("died", "ward", unit="ward"),
        ColumnRoles("died", "ward", ("patient",), unit="patient"),
    ],
)
def test_parts_that_one_column_may_share(roles: ColumnRoles) -> None:
    assert check_roles(table(), roles) == ()


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (table(died=1), "label 'died' has one value only ('1'): name another column as --label"),
        (table(ward="a"), "environment 'ward' has one value only ('a'): name another column as --environment"),
        (table(ward=None), "environment 'ward' has no values"),
        (with_value(6, None, "died"), "label 'died' is missing in 1 row (row 7): drop these rows or fill them"),
        (table(died=[None, 0, 1, None] * 10), "missing in 20 rows (rows 1, 4, 5, …)"),
        (with_value(0, None, "patient"), "unit 'patient' is missing in 1 row (row 1)"),
        (with_value(0, None, "part"), "split 'part' is missing in 1 row (row 1)"),
        (with_value(2, np.nan, "importance"), "weight 'importance' is missing in 1 row (row 3)"),
        (with_value(2, -1.0, "importance"), "weight 'importance' is negative, infinite or no number in 1 row (row 3)"),
        (with_value(2, np.inf, "importance"), "negative, infinite or no number in 1 row (row 3)"),
        (with_value(2, "heavy", "importance"), "negative, infinite or no number in 1 row (row 3)"),
        (table(importance=0.0), "weight 'importance' is zero in every row"),
        (table(ward=[["a"], ["b"]] * 20), "column 'ward' holds lists or records"),
        (table(died=[f"name {row}" for row in range(ROWS)]), "has 40 classes in 40 rows: name a column with fewer"),
    ],
)
def test_values_that_do_not_fit(frame: pd.DataFrame, expected: str) -> None:
    assert expected in complaint(frame)


def test_too_many_classes() -> None:
    rows = 100_000
    big = pd.DataFrame({"x": 0, "y": np.arange(rows) % 10_000, "e": np.arange(rows) % 3})
    roles = ColumnRoles("y", "e")
    assert "has 10,000 classes in 100,000 rows: try --kind regression" in complaint(big, roles, "classification")
    assert check_roles(big, roles, "regression") == ()
    limit = big.assign(y=big["y"] % 1000)
    assert check_roles(limit, roles, "classification") == ()
    assert "1,001 classes" in complaint(big.assign(y=big["y"] % 1001), roles, "classification")
    assert "has 15 classes in 20 rows: try --kind regression" in complaint(
        big.head(20).assign(y=lambda f: f["y"] % 15), roles
    )


def test_regression_needs_finite_numbers() -> None:
    assert "is not a number everywhere ('f'): try --kind classification" in complaint(
        table(), ColumnRoles("sex", "ward"), "regression"
    )
    frame = table(age=[np.inf, *range(ROWS - 1)])
    assert "label 'age' is infinite in 1 row (row 1)" in complaint(frame, ColumnRoles("age", "ward"))


def test_repeated_column_names() -> None:
    frame = table()
    frame.columns = [*frame.columns[:-1], "age"]
    assert "more than one column is named 'age'" in complaint(frame, ColumnRoles("died", "ward"))


def test_missing_environments_and_groups_are_unknown() -> None:
    frame = table(ward=[None, "b", "c", "d"] * 10, sex=["f", None] * 20)
    assert check_roles(frame, ALL) == (
        "environment 'ward' is missing in 10 rows (rows 1, 5, 9, …): unknown there",
        "group 'sex' is missing in 20 rows (rows 2, 4, 6, …): unknown there",
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        (pd.Categorical([1.5, 2.5]), "classification"),
        (range(20), "classification"),
        (range(21), "regression"),
        ([0.0, 1.0], "classification"),
        ([0.0, 1.5], "regression"),
        (pd.array([1, 2, None], dtype="Int64"), "classification"),
        (pd.array([True, None], dtype="boolean"), "classification"),
        ([0.0, np.inf], "regression"),
    ],
)
def test_infer_kind(values: Any, kind: str) -> None:
    assert infer_kind(pd.Series(values)) == kind
