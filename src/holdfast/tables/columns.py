"""One column of a table as numbers: what was learnt on the training rows, and how it is applied.

Every class here holds plain numbers and texts, names its outputs, and writes them for N rows into ``out``, an
(N, len(feature_names)) float32 array of zeros. A missing value becomes the training mean; where a training row had
one, the last output says which rows do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from holdfast.core.errors import UserError
from holdfast.tables.codes import encode_column, name_codes
from holdfast.tables.parse import day_first, parse_booleans, parse_dates, parse_numbers

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

_LARGEST = float(np.finfo(np.float32).max)
_YEAR = np.timedelta64(31_556_952, "s")  # the mean Gregorian year
_PERIODS = {"month": 12.0, "weekday": 7.0, "hour": 24.0}


class ColumnEncoder(Protocol):
    """What the classes below have in common."""

    @property
    def name(self) -> str:
        """The column of the table."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the outputs."""

    @property
    def note(self) -> str | None:
        """One line on what was lost, if anything."""

    def write(self, series: pd.Series, out: Features) -> None:
        """Write the outputs of (N,) values into (N, len(feature_names)) zeros."""


@dataclass(frozen=True)
class NumericColumn:
    """A number, standardised by the training mean and standard deviation (in float64).

    Attributes:
        name: The column.
        mean: Of the training rows that have a value.
        std: Population standard deviation of the same, positive.
        missing: Whether a training row had no value; adds an output that tells.
        unparsed: Training rows whose text is no number and counts as missing.
    """

    name: str
    mean: float
    std: float
    missing: bool
    unparsed: int = 0

    @classmethod
    def fit(cls, series: pd.Series) -> NumericColumn | None:
        """Learn from (N,) training values; None when they are all the same.

        Raises:
            UserError: A value is infinite.
        """
        values = _finite(series)
        moments = _moments(values)
        if moments is None:
            return None
        return cls(str(series.name), *moments, bool(np.isnan(values).any()), _unparsed(series, values))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return _with_missing([self.name], self.name, self.missing)

    @property
    def note(self) -> str | None:
        return _unparsed_note(self.name, self.unparsed, "numbers")

    def write(self, series: pd.Series, out: Features) -> None:
        values = _finite(series)
        _check_parsed(series, values, "numbers")
        out[:, 0] = _standardise(values, self.mean, self.std)
        if self.missing:
            out[:, 1] = np.isnan(values)


@dataclass(frozen=True)
class BooleanColumn:
    """False and true as 0 and 1; a missing value as the training mean.

    Attributes:
        name: The column.
        mean: Share of true among the training rows that have a value.
        missing: Whether a training row had no value; adds an output that tells.
        unparsed: Training rows whose text is neither true nor false and counts as missing.
    """

    name: str
    mean: float
    missing: bool
    unparsed: int = 0

    @classmethod
    def fit(cls, series: pd.Series) -> BooleanColumn | None:
        """Learn from (N,) training values; None when they are all the same."""
        values = parse_booleans(series)
        mean = float(np.nanmean(values))
        if mean in (0.0, 1.0):
            return None
        return cls(str(series.name), mean, bool(np.isnan(values).any()), _unparsed(series, values))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return _with_missing([self.name], self.name, self.missing)

    @property
    def note(self) -> str | None:
        return _unparsed_note(self.name, self.unparsed, "true or false")

    def write(self, series: pd.Series, out: Features) -> None:
        values = parse_booleans(series)
        _check_parsed(series, values, "true or false")
        out[:, 0] = np.where(np.isnan(values), self.mean, values)
        if self.missing:
            out[:, 1] = np.isnan(values)


@dataclass(frozen=True)
class CategoricalColumn:
    """One output per frequent level, one for the pooled rest, one for missing.

    The last two exist only where training rows fall into them, as a weight without training rows would be noise: a
    level that is new then is a row of zeros.

    Attributes:
        name: The column.
        levels: The frequent levels in natural order.
        pooled: How many training levels were too rare and are ``other``.
        missing: Whether a training row had no value.
    """

    name: str
    levels: tuple[str, ...]
    pooled: int
    missing: bool

    @classmethod
    def fit(cls, series: pd.Series, min_count: int, max_levels: int) -> CategoricalColumn | None:
        """Learn from (N,) training values; None when all rows would get the same outputs.

        Args:
            series: The values.
            min_count: Levels of fewer training rows are pooled.
            max_levels: So many levels are kept at most, the most frequent ones; ties go by natural order.
        """
        column = encode_column(series)
        rows = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
        frequent = [code for code in np.argsort(-rows, kind="stable") if rows[code] >= min_count][:max_levels]
        levels = tuple(column.names[code] for code in sorted(frequent))
        fitted = cls(str(series.name), levels, len(column.names) - len(levels), bool((column.codes < 0).any()))
        return fitted if len(fitted.feature_names) > 1 else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        names = [f"{self.name}={level}" for level in self.levels]
        if self.pooled:
            names.append(f"{self.name} (other)")
        return _with_missing(names, self.name, self.missing)

    @property
    def note(self) -> str | None:
        if not self.pooled:
            return None
        rare = "1 rare level is" if self.pooled == 1 else f"{self.pooled:,} rare levels are"
        return f"column {self.name!r}: {rare} pooled as other"

    def write(self, series: pd.Series, out: Features) -> None:
        codes, names = name_codes(series)
        nowhere = out.shape[1]
        place = {level: position for position, level in enumerate(self.levels)}
        other = len(self.levels) if self.pooled else nowhere
        absent = nowhere - 1 if self.missing else nowhere
        position = np.array([*(place.get(name, other) for name in names), absent])[codes]
        rows = np.flatnonzero(position < nowhere)
        out[rows, position[rows]] = 1.0


@dataclass(frozen=True)
class DateColumn:
    """A date: its standardised trend in years, and its month, weekday and hour as points on circles.

    The cyclic parts are pairs of sine and cosine, present where the part varies over the training rows.

    Attributes:
        name: The column.
        mean: Mean of the training dates, in years since 1970.
        std: Their population standard deviation in years, positive.
        cycles: Those of month, weekday and hour that vary.
        missing: Whether a training row had no value; adds an output that tells.
        unparsed: Training rows whose text is no date and counts as missing.
        day_first: How dates with the year last are read, as the training rows tell.
    """

    name: str
    mean: float
    std: float
    cycles: tuple[str, ...]
    missing: bool
    unparsed: int = 0
    day_first: bool = True

    @classmethod
    def fit(cls, series: pd.Series) -> DateColumn | None:
        """Learn from (N,) training values; None when they are all the same."""
        first = day_first(series) is not False
        dates = parse_dates(series, day_first=first)
        absent = np.isnat(dates)
        moments = _moments(_years(dates))
        if moments is None:
            return None
        present = dates[~absent]
        cycles = tuple(cycle for cycle in _PERIODS if np.ptp(_phase(present, cycle)) > 0)
        return cls(str(series.name), *moments, cycles, bool(absent.any()), _unparsed(series, _years(dates)), first)

    @property
    def feature_names(self) -> tuple[str, ...]:
        pairs = [f"{self.name} ({part} of {cycle})" for cycle in self.cycles for part in ("sine", "cosine")]
        return _with_missing([f"{self.name} (trend)", *pairs], self.name, self.missing)

    @property
    def note(self) -> str | None:
        return _unparsed_note(self.name, self.unparsed, "dates")

    def write(self, series: pd.Series, out: Features) -> None:
        dates = parse_dates(series, day_first=self.day_first)
        years = _years(dates)
        _check_parsed(series, years, "dates")
        absent = np.isnan(years)
        out[:, 0] = _standardise(years, self.mean, self.std)
        for place, cycle in enumerate(self.cycles):
            angle = 2 * np.pi * _phase(dates, cycle) / _PERIODS[cycle]
            out[:, 1 + 2 * place] = np.where(absent, 0.0, np.sin(angle))
            out[:, 2 + 2 * place] = np.where(absent, 0.0, np.cos(angle))
        if self.missing:
            out[:, -1] = absent


def _with_missing(names: list[str], column: str, missing: bool) -> tuple[str, ...]:
    return (*names, f"{column} (missing)") if missing else tuple(names)


def _finite(series: pd.Series) -> Floats:
    values = parse_numbers(series)
    infinite = int(np.isinf(values).sum())
    if infinite:
        rows = "1 row" if infinite == 1 else f"{infinite:,} rows"
        raise UserError(f"column {series.name!r} is infinite in {rows}: replace these values or leave them empty")
    return values


def _unparsed(series: pd.Series, values: Floats) -> int:
    return int((np.isnan(values) & series.notna().to_numpy()).sum())


def _unparsed_note(name: str, unparsed: int, kind: str) -> str | None:
    rows = "1 row is" if unparsed == 1 else f"{unparsed:,} rows are"
    return f"column {name!r}: {rows} not {kind} and taken as missing" if unparsed else None


def _check_parsed(series: pd.Series, values: Floats, kind: str) -> None:
    """Raise when the column holds values and none of them is of the kind seen in training."""
    present = series.notna().to_numpy()
    if present.any() and np.isnan(values[present]).all():
        example = str(series[present].iloc[0])
        raise UserError(f"column {series.name!r} held {kind} in training and holds none here ({example!r}): mend it")


def _moments(values: Floats) -> tuple[float, float] | None:
    """Mean and population standard deviation of the values that are not NaN; None when they do not vary."""
    present = values[~np.isnan(values)]
    if not len(present) or present.min() == present.max():
        return None
    scale = float(np.abs(present).max())  # keeps squares within the range of float64
    mean, std = float((present / scale).mean()) * scale, float((present / scale).std()) * scale
    return (mean, std) if std > 0 else None


def _standardise(values: Floats, mean: float, std: float) -> Floats:
    """(value − mean) / std, 0 for NaN, kept within the range of float32."""
    with np.errstate(over="ignore"):
        scaled = np.clip((values - mean) / std, -_LARGEST, _LARGEST)
    return np.where(np.isnan(scaled), 0.0, scaled)


def _years(dates: npt.NDArray[np.datetime64]) -> Floats:
    """Years since 1970; NaN for NaT."""
    years: Any = (dates - np.datetime64(0, "us")) / _YEAR
    return np.asarray(years, dtype=np.float64)


def _phase(dates: npt.NDArray[np.datetime64], cycle: str) -> Floats:
    """Where in its cycle a date is: months since January, days since Monday or hours since midnight; NaN for NaT."""
    part: Any
    if cycle == "month":
        part = (dates.astype("datetime64[M]") - dates.astype("datetime64[Y]")) / np.timedelta64(1, "M")
    elif cycle == "weekday":
        monday = np.datetime64("1969-12-29")
        part = (dates.astype("datetime64[D]") - monday) / np.timedelta64(1, "D") % 7
    else:
        part = (dates - dates.astype("datetime64[D]")) / np.timedelta64(1, "h")
    return np.asarray(part, dtype=np.float64)
