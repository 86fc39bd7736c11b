"""What a column holds: numbers, booleans, dates, categories, or what no encoder here can use."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from holdfast.core.errors import UserError
from holdfast.tables.codes import name_codes

ColumnKind = Literal[
    "numeric",
    "boolean",
    "date",
    "unclear date",
    "categorical",
    "free text",
    "identifier",
    "nested",
    "unsupported",
    "empty",
]

FREE_TEXT_WORDS = 5
"""Text that hardly repeats is free text when it has so many words on average; names and codes have fewer."""

PARSED_SHARE = 0.99
"""Text is numbers, booleans or dates when at least this share of its non-missing values parses as such."""

_BOOLEANS = {"true": 1.0, "false": 0.0}
_CLOCK = r"(?:[T ](?P<clock>\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?))?"
_ZONE = r"(?:Z|[+-]\d{2}:?\d{2})?"
_YEAR_FIRST = re.compile(rf"(?P<year>\d{{4}})([-/.])(?P<month>\d{{2}})\2(?P<day>\d{{2}}){_CLOCK}{_ZONE}")
_YEAR_LAST = re.compile(rf"(?P<one>\d{{1,2}})(?P<mark>[-/.])(?P<two>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}){_CLOCK}")


def column_kind(series: pd.Series, max_levels: int = 64) -> ColumnKind:
    """What a column holds, judged by its type and, for text and objects, by its values.

    Text that is nearly always a number, ``true``/``false`` or a date counts as that, so that a CSV file and a Parquet
    file of the same table are read alike. Dates are ``2020-12-31`` as in ISO 8601, ``31.12.2020``, and ``31/12/2020``
    or ``12/31/2020`` where some value of the column shows which of the two it is; else it is an ``unclear date``.
    Text is not ``categorical`` when it has more distinct values than ``max_levels`` and than half of its non-missing
    rows: with five words or more on average it is ``free text``, otherwise an ``identifier``, such as a name or a code.

    Args:
        series: (N,) any column.
        max_levels: Up to so many distinct values are always categories.

    >>> [column_kind(pd.Series(v)) for v in ([1, 2], ["2011-01-01", None], ["a", "b"], [True, None], [[1], [2]])]
    ['numeric', 'date', 'categorical', 'boolean', 'nested']
    """
    present = series.dropna()
    if present.empty:
        return "empty"
    kind = _kind_by_type(present)
    return kind or _kind_by_value(present, max_levels)


def _kind_by_type(present: pd.Series) -> ColumnKind | None:
    """The kind, where the type alone decides."""
    dtype = present.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return None if pd.api.types.is_string_dtype(dtype.categories.dtype) else "categorical"
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return "numeric"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "date"
    return None if pd.api.types.is_string_dtype(dtype) or pd.api.types.is_object_dtype(dtype) else "unsupported"


def _kind_by_value(present: pd.Series, max_levels: int) -> ColumnKind:
    if pd.api.types.infer_dtype(present) == "bytes":
        return "nested"
    try:
        codes, names = name_codes(present)
    except UserError:
        return "nested"
    rows = np.bincount(codes, minlength=len(names))
    enough = PARSED_SHARE * len(codes)
    if rows[~np.isnan(_booleans(names))].sum() >= enough:
        return "boolean"
    if rows[~np.isnan(_numbers(names))].sum() >= enough:
        return "numeric"
    first = _day_first(names)
    if rows[~np.isnat(_dates(names, first is not False))].sum() >= enough:
        return "unclear date" if first is None else "date"
    return _kind_of_text(names, len(codes), max_levels)


def _kind_of_text(names: npt.NDArray[Any], rows: int, max_levels: int) -> ColumnKind:
    if len(names) <= max(max_levels, rows / 2):
        return "categorical"
    words = np.mean([len(str(name).split()) for name in names])
    return "free text" if words >= FREE_TEXT_WORDS else "identifier"


def parse_numbers(series: pd.Series) -> npt.NDArray[np.float64]:
    """(N,) float64; NaN where a value is missing or not a number.

    >>> parse_numbers(pd.Series(["1.5", "unknown", None]))
    array([1.5, nan, nan])
    """
    if pd.api.types.is_numeric_dtype(series.dtype):  # bool among them
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    codes, names = name_codes(series)
    return np.append(_numbers(names), np.nan)[codes]


def parse_booleans(series: pd.Series) -> npt.NDArray[np.float64]:
    """(N,) float64: 1 for true, 0 for false; NaN where a value is missing or neither (``0`` and ``1`` will do).

    >>> parse_booleans(pd.Series([True, "FALSE", 1, "maybe"], dtype=object))
    array([ 1.,  0.,  1., nan])
    """
    codes, names = name_codes(series)
    numbers = _numbers(names)
    return np.append(np.where(np.isin(numbers, (0.0, 1.0)), numbers, _booleans(names)), np.nan)[codes]


def day_first(series: pd.Series) -> bool | None:
    """Whether the day comes before the month in dates such as 31/12/2020; None where no value shows it.

    With dots it does. Otherwise a number above 12 must show it; where no date has its year last, the answer is True.

    >>> [day_first(pd.Series(v)) for v in (["31/12/2020", "1/2/2020"], ["12/31/2020"], ["1/2/2020"], ["1.2.2020"])]
    [True, False, None, True]
    """
    return True if pd.api.types.is_datetime64_any_dtype(series.dtype) else _day_first(name_codes(series)[1])


def parse_dates(series: pd.Series, *, day_first: bool = True) -> npt.NDArray[np.datetime64]:
    """(N,) datetime64[us] as the clock on the wall shows it, time zones dropped; NaT where missing or not a date.

    Args:
        series: (N,) dates or text.
        day_first: How to read text whose year comes last.

    >>> parse_dates(pd.Series(["2024-02-29", "2024-02-29 10:00+01:00", "29.2.2024"])).astype(str).tolist()
    ['2024-02-29T00:00:00.000000', '2024-02-29T10:00:00.000000', '2024-02-29T00:00:00.000000']
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return np.asarray(series.dt.tz_localize(None), dtype="datetime64[us]")
    codes, names = name_codes(series)
    return np.append(_dates(names, day_first), np.datetime64("NaT", "us"))[codes]


def _numbers(names: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(pd.to_numeric(pd.Series(names, dtype=object), errors="coerce"), dtype=np.float64)


def _booleans(names: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(pd.Series(names, dtype="str").str.lower().map(_BOOLEANS), dtype=np.float64)


def _day_first(names: npt.NDArray[Any]) -> bool | None:
    found = [match for match in map(_YEAR_LAST.fullmatch, map(str, names)) if match]
    if all(match["mark"] == "." for match in found):
        return True
    one, two = (any(int(match[part]) > 12 for match in found) for part in ("one", "two"))
    return None if one == two else one


def _dates(names: npt.NDArray[Any], day_first: bool) -> npt.NDArray[np.datetime64]:
    text = pd.Series([_iso(str(name), day_first) for name in names], dtype=object)
    return pd.to_datetime(text, format="ISO8601", errors="coerce").to_numpy(dtype="datetime64[us]")


def _iso(name: str, day_first: bool) -> str | None:
    """A date with its time as ISO 8601 writes them, without the zone; None for what is no date."""
    if found := _YEAR_FIRST.fullmatch(name):
        month, day = found["month"], found["day"]
    elif found := _YEAR_LAST.fullmatch(name):
        month, day = (found["two"], found["one"]) if day_first else (found["one"], found["two"])
    else:
        return None
    return f"{found['year']}-{month:0>2}-{day:0>2}T{found['clock'] or '00:00':0>5}"
