"""Columns as integer codes with names."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from holdfast.core.errors import UserError


@dataclass(frozen=True)
class Codes:
    """A column as integers.

    Attributes:
        codes: (N,) int64 in [−1, len(names)); −1 is missing.
        names: One distinct name per code.
    """

    codes: npt.NDArray[np.int64]
    names: tuple[str, ...]


def encode_column(series: pd.Series) -> Codes:
    """Number the values of a column, in natural order of their names; those of an ordered category in its order.

    Names that all are numbers are ordered as numbers, other names with the digits inside them as numbers. Values
    that print alike get one code: ``3``, ``3.0`` and ``"3"`` are one environment.

    Args:
        series: (N,) plain values.

    Raises:
        UserError: The values are lists or records.

    >>> encode_column(pd.Series(["ward 10", "ward 9", None]))
    Codes(codes=array([ 1,  0, -1]), names=('ward 9', 'ward 10'))
    """
    codes, names = name_codes(series)
    order = _order_of_categories(series, names)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return Codes(np.append(rank, -1)[codes], tuple(names[order]))


def name_codes(series: pd.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_]]:
    """Codes (N,) in order of appearance, −1 for missing, and (K,) their distinct names."""
    try:
        codes, values = pd.factorize(series)
    except (TypeError, NotImplementedError):  # they cannot be hashed
        raise UserError(f"column {series.name!r} holds lists or records: plain values are needed") from None
    merge, names = pd.factorize(_names(pd.Index(values)))
    return np.append(merge, -1)[codes].astype(np.int64), np.asarray(names, dtype=object)


def _names(values: pd.Index) -> npt.NDArray[np.object_]:
    if isinstance(values, pd.CategoricalIndex):
        return _names(values.categories)[values.codes]
    return np.array([_name(value) for value in values.tolist()], dtype=object)


def _name(value: object) -> str:
    """A value as text: whole numbers without a decimal point and days without an hour, however they are stored."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).removesuffix(" 00:00:00")


def _order_of_categories(series: pd.Series, names: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    if not isinstance(series.dtype, pd.CategoricalDtype) or not series.dtype.ordered:
        return _natural_order(names)
    place = {name: k for k, name in reversed(list(enumerate(_names(series.dtype.categories))))}
    return np.argsort([place[name] for name in names], kind="stable").astype(np.int64)


def _natural_order(names: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    numbers = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    if not np.isnan(numbers).any():
        return np.lexsort((names.astype(str), numbers)).astype(np.int64)
    return np.array(sorted(range(len(names)), key=lambda place: _natural_key(str(names[place]))), dtype=np.int64)


def _natural_key(name: str) -> tuple[str, str]:
    """The name with its numbers padded to equal length; the name itself decides between equals."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(32), name), name
