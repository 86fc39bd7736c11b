"""Columns as codes."""

from __future__ import annotations

import datetime
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from holdfast.core.errors import UserError
from holdfast.tables import encode_column

PLAIN_VALUES = st.none() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.booleans() | st.text()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 10, 2], ("2", "9", "10")),
        ([10.0, None, 2.5], ("2.5", "10")),
        (["10", "9", "-1", "1e1"], ("-1", "9", "10", "1e1")),
        (["h10", "h9", "h9b", "a"], ("a", "h9", "h9b", "h10")),
        ([True, False, None], ("False", "True")),
        ([3, 3.0, "3"], ("3",)),
        (pd.Categorical([10, 9, None, 9], categories=[10, 9, 1]), ("9", "10")),
        (pd.to_datetime(["2020-01-02", "2020-01-01"]), ("2020-01-01", "2020-01-02")),
        ([datetime.date(2020, 1, 2), None], ("2020-01-02",)),
        (pd.array([2, None, 1], dtype="Int64"), ("1", "2")),
        ([None, None], ()),
    ],
)
def test_names_are_distinct_and_in_natural_order(values: Any, names: tuple[str, ...]) -> None:
    assert encode_column(pd.Series(values)).names == names


@given(st.lists(PLAIN_VALUES, max_size=30))
def test_codes_point_at_the_value_of_their_row(values: list[Any]) -> None:
    series = pd.Series(values, dtype=object)
    column = encode_column(series)
    assert column.codes.dtype == np.int64
    assert len(set(column.names)) == len(column.names)
    assert set(column.codes) - {-1} == set(range(len(column.names)))
    for value, code in zip(values, column.codes, strict=True):
        if value is None:
            assert code == -1
        elif isinstance(value, str):
            assert column.names[code] == value.removesuffix(" 00:00:00")
        else:
            assert float({"True": "1", "False": "0"}.get(column.names[code], column.names[code])) == float(value)


@given(st.lists(st.integers() | st.floats(allow_nan=False), max_size=20).map(tuple), st.randoms())
def test_the_order_of_the_rows_does_not_matter(values: tuple[float, ...], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert (
        encode_column(pd.Series(values, dtype=object)).names == encode_column(pd.Series(shuffled, dtype=object)).names
    )


def test_lists_are_refused() -> None:
    with pytest.raises(UserError, match="column 'x' holds lists or records"):
        encode_column(pd.Series([[1], [2]], name="x"))
