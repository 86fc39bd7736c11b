"""What would become of a model if an attribute no longer went with the label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.artifacts import Table
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Kind, TaskData
from holdfast.evaluations.described import Described, described_rows
from holdfast.evaluations.scored import Level
from holdfast.statistics import simultaneous_level
from holdfast.statistics.resampling import multiplicities

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

MOST_LEVELS = 12
BINS = 4
FEWEST_IN_CELL = 5


@register
@dataclass(frozen=True, kw_only=True)
class Reweighted(Evaluation):
    """The rise of error when rows are reweighted so that a column is independent of the label, for each column.

    A row of label y and value a weighs P(y) P(a) / P(y, a): labels and values are as frequent as before, and say
    nothing of each other. A model that is right just as often for every combination loses nothing; one that is right
    where the value goes with the label loses what that was worth. The number is what a shift of this one kind would
    do if, at equal label and value, rows stayed as they are; it does not prove that the model reads the column.
    F. Kamiran, T. Calders, *Data preprocessing techniques for classification without discrimination*, 2012, use
    these weights for training.

    Numbers are cut into quarters (the label of a regression too), columns of over twelve levels are left out, and so
    are those with combinations too rare to be weighted up. Intervals are normal with the bootstrap's standard error
    over rows or units, and hold together over all columns.

    Attributes:
        least: An alarm is raised where the rise is surely above this for an attribute, that is a group column.
        covered: Combinations of at least five rows must make up this share of the reweighted rows.
        replicates: Of the bootstrap.
        max_rows: So many rows are used at most.
        level: Of the intervals.
    """

    least: Annotated[float, Range(0.0, 1.0)] = 0.05
    covered: Annotated[float, Range(0.0, 1.0)] = 0.95
    replicates: Annotated[int, Range(low=20)] = 200
    max_rows: Annotated[int, Range(low=100)] = 20_000
    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        rows = described_rows(predictor, task, self.max_rows, rng)
        if rows is None:
            return Result()
        label = _codes(rows.label if task.kind == "regression" else rows.label.astype(str))
        columns = {name: codes for name, codes in _columns(rows.columns) if self._is_covered(label, codes, rows.weight)}
        if not columns or label.max() == 0:
            return Result()
        draws = np.concatenate(list(multiplicities(rows.unit, self.replicates, rng)))
        each = simultaneous_level(self.level, len(columns))
        rises = [_Rise.of(name, rows, label, codes, draws, each) for name, codes in columns.items()]
        rises.sort(key=lambda rise: -rise.value)
        # That a model loses what a feature says of the label is no reason to act; an attribute should say nothing.
        alarms = [rise for rise in rises if rise.low > self.least and rise.column in rows.data.attributes]
        return Result(
            tuple(rise.measurement(rows, self.level) for rise in rises),
            (_table(rises, task.kind, self.level),),
            tuple(rise.finding(task.kind) for rise in alarms),
        )

    def _is_covered(self, label: Codes, codes: Codes, weight: Array) -> bool:
        """Whether combinations of enough rows make up nearly all of the reweighted rows."""
        if codes.max() < 1:
            return False
        cells = _sums(label, codes, np.ones(len(label)))
        mass = _sums(label, codes, weight) / weight.sum()
        independent = np.outer(mass.sum(axis=1), mass.sum(axis=0))
        return bool(independent[cells >= FEWEST_IN_CELL].sum() >= self.covered)


@dataclass(frozen=True)
class _Rise:
    """Mean loss as it is, and with the column independent of the label."""

    column: str
    n: int
    plain: float
    reweighted: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.reweighted - self.plain

    @staticmethod
    def of(column: str, rows: Described, label: Codes, codes: Codes, draws: Array, level: float) -> _Rise:
        from scipy.stats import norm

        one = _losses(rows, label, codes, rows.weight[None])[0]
        drawn = _losses(rows, label, codes, draws * rows.weight)
        error = float(np.nanstd(drawn[:, 1] - drawn[:, 0], ddof=1))
        value, reach = one[1] - one[0], float(norm.ppf((1 + level) / 2)) * error
        return _Rise(column, len(label), float(one[0]), float(one[1]), float(value - reach), float(value + reach))

    def measurement(self, rows: Described, level: float) -> Measurement:
        return Measurement(
            metric=f"rise of loss without {self.column}",
            value=self.value,
            split="test",
            n=self.n,
            low=self.low,
            high=self.high,
            interval="simultaneous bootstrap",
            level=level,
            unit="row" if rows.data.unit is None else "unit",
            higher_is_better=False,
        )

    def finding(self, kind: Kind) -> Finding:
        low, high, value = (100 * number for number in (self.low, self.high, self.value))
        if kind == "classification":
            change = f"accuracy would fall from {100 * (1 - self.plain):.1f} % to {100 * (1 - self.reweighted):.1f} %"
        else:
            change = "the squared error would rise"
        by = f"by {value:.1f} points [{low:.1f}, {high:.1f}]"
        return Finding(self.column, f"If {self.column!r} no longer went with the label, {change}, {by}.", alarm=True)


def _losses(rows: Described, label: Codes, codes: Codes, weights: Array) -> Array:
    """(R, 2) mean loss under R weightings (R, N), plain and with label and column independent of each other.

    A combination that a weighting leaves empty counts with the mean loss of its label.
    """
    shape = (int(label.max()) + 1, int(codes.max()) + 1)
    cell = np.zeros((len(label), shape[0] * shape[1]))
    cell[np.arange(len(label)), label * shape[1] + codes] = 1
    mass = (weights @ cell).reshape(-1, *shape)
    loss = (weights @ (cell * rows.loss[:, None])).reshape(-1, *shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_label = loss.sum(axis=2, keepdims=True) / mass.sum(axis=2, keepdims=True)
        mean = np.where(mass > 0, loss / mass, by_label)
        total = mass.sum(axis=(1, 2), keepdims=True)
        independent = mass.sum(axis=2, keepdims=True) * mass.sum(axis=1, keepdims=True) / total**2
        plain = loss.sum(axis=(1, 2)) / total[:, 0, 0]
    return np.stack([plain, np.nansum(independent * mean, axis=(1, 2))], axis=1)


def _sums(label: Codes, codes: Codes, values: Array) -> Array:
    """(L, K) sums by label and code."""
    shape = (int(label.max()) + 1, int(codes.max()) + 1)
    flat = np.bincount(label * shape[1] + codes, weights=values, minlength=shape[0] * shape[1])
    return np.asarray(flat.reshape(shape))


def _columns(frame: pd.DataFrame) -> Iterator[tuple[str, Codes]]:
    """Columns as codes; those of too many levels are left out."""
    for name in frame.columns:
        codes = _codes(frame[name].to_numpy(dtype=object))
        if codes.max() < MOST_LEVELS:
            yield str(name), codes


def _codes(values: Any) -> Codes:
    """Numbers by quarter, where there are more than a few, others by value; what is missing is a value."""
    import pandas as pd

    series = pd.Series(values)
    numbers = pd.to_numeric(series, errors="coerce")
    if numbers.notna().sum() == series.notna().sum() and numbers.nunique() > MOST_LEVELS:
        series = pd.Series(pd.qcut(numbers, BINS, duplicates="drop").cat.codes)
    return np.asarray(pd.factorize(series.astype(str), sort=True)[0])


def _table(rises: Sequence[_Rise], kind: Kind, level: float) -> Table:
    wrong = "error" if kind == "classification" else "squared error"
    return Table(
        "if a column no longer went with the label",
        ("column", f"{wrong} now", f"{wrong} then", "rise", "low", "high"),
        tuple((rise.column, rise.plain, rise.reweighted, rise.value, rise.low, rise.high) for rise in rises),
        "Rows are reweighted so that column and label are independent, each as frequent as it is. It is what such a "
        f"shift would do, and no proof that the model reads the column. Intervals hold together at level {level:g}.",
    )
