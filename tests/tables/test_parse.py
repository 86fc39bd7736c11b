"""What a column holds."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from holdfast.tables.parse import column_kind, day_first, parse_booleans, parse_dates, parse_numbers

UNIQUE = [f"patient {number}" for number in range(200)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "numeric"),
        ([1.5, None], "numeric"),
        (pd.array([1, None], dtype="Int64"), "numeric"),
        ([decimal.Decimal("1.5"), None], "numeric"),
        (["1.5", " 2 ", None], "numeric"),
        (["1"] * 99 + ["unknown"], "numeric"),
        (["1"] * 98 + ["unknown"] * 2, "categorical"),
        ([True, False], "boolean"),
        ([True, None], "boolean"),
        (pd.array([True, None], dtype="boolean"), "boolean"),
        (["TRUE", "false"], "boolean"),
        (["yes", "no"], "categorical"),
        (pd.Categorical([3, 4]), "categorical"),
        (pd.Categorical(["2020-01-01", "2020-02-01"]), "date"),
        ([1, "a"], "categorical"),
        (pd.to_datetime(["2020-01-01", None]), "date"),
        (pd.to_datetime(["2020-01-01 10:00+01:00"]), "date"),
        ([datetime.date(2020, 1, 1), None], "date"),
        (["2020-01-01", "2020-01-01T10:00:00.5Z"], "date"),
        (["2020-01-01"] * 99 + ["soon"], "date"),
        (["2020-01-01"] * 98 + ["soon"] * 2, "categorical"),
        (["2020/01/02", "2020.03.04"], "date"),
        (["31.12.2020", "1.2.2020 10:30"], "date"),
        (["01.02.2020", "03.04.2020"], "date"),
        (["31/12/2020", "01/02/2020", "2020-01-02"], "date"),
        (["12-31-2020", "01-02-2020"], "date"),
        (["01/02/2020", "03/04/2020"], "unclear date"),
        (["31/12/2020", "12/31/2020"], "categorical"),
        (["1.2.3", "10.20.30"], "categorical"),
        (["31.12.20", "1.2.20"], "categorical"),
        (["2020-13-01", "2020-02-30"], "categorical"),
        (["2020", "2021"], "numeric"),
        (UNIQUE, "identifier"),
        (UNIQUE * 3, "categorical"),
        (UNIQUE[:64], "categorical"),
        (pd.Categorical(UNIQUE), "identifier"),
        ([[1], [2]], "nested"),
        ([{"bytes": b"x"}, None], "nested"),
        ([np.zeros(2), np.ones(2)], "nested"),
        ([b"x", None], "nested"),
        (pd.to_timedelta([1, 2]), "unsupported"),
        ([1j, 2j], "unsupported"),
        ([None, None], "empty"),
        ([np.nan], "empty"),
    ],
)
def test_kinds(values: Any, kind: str) -> None:
    assert column_kind(pd.Series(values)) == kind


@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1))
def test_numbers_survive_text(values: list[float | None]) -> None:
    as_text = pd.Series([None if value is None else repr(value) for value in values], dtype=object)
    expected = np.array(values, dtype=np.float64)
    np.testing.assert_array_equal(parse_numbers(as_text), expected)
    np.testing.assert_array_equal(parse_numbers(pd.Series(expected)), expected)


@given(
    st.lists(
        st.datetimes(
            datetime.datetime(1678, 1, 1),
            datetime.datetime(9999, 1, 1),
            timezones=st.none() | st.just(datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_dates_are_what_the_clock_on_the_wall_shows(values: list[datetime.datetime]) -> None:
    expected = np.array([value.replace(tzinfo=None) for value in values], dtype="datetime64[us]")
    np.testing.assert_array_equal(parse_dates(pd.Series(values, dtype=object)), expected)
    np.testing.assert_array_equal(parse_dates(pd.Series([value.isoformat() for value in values])), expected)
    zoned = pd.Series(pd.DatetimeIndex(expected).tz_localize("UTC"))
    np.testing.assert_array_equal(parse_dates(zoned), expected)


def test_the_day_or_the_month_comes_first_as_some_value_shows() -> None:
    days = pd.Series(["03/04/2020 9:05", "31/12/2020", None])
    assert day_first(days) is True
    assert parse_dates(days).astype(str).tolist() == ["2020-04-03T09:05:00.000000", "2020-12-31T00:00:00.000000", "NaT"]
    months = pd.Series(["03/04/2020", "12/31/2020"])
    assert day_first(months) is False
    wanted = np.array(["2020-03-04", "2020-12-31"], dtype="datetime64[us]")
    np.testing.assert_array_equal(parse_dates(months, day_first=False), wanted)


def test_booleans() -> None:
    values = parse_booleans(pd.Series(["True", "false", "1", "0", "2", "yes", None], dtype=object))
    np.testing.assert_array_equal(values, [1, 0, 1, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(parse_booleans(pd.Series(pd.array([True, None], dtype="boolean"))), [1, np.nan])
