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
    """The rise of error when rows of an environment are reweighted so that a column says nothing of the label.

    A row of label y and value a weighs P(y) P(a) / P(y, a): labels and values are as frequent as before, and say
    nothing of each other. A model that is right just as often for every combination loses nothing; one that is right
    where the value goes with the label loses what that was worth. The number is what a shift of this one kind would
    do if, at equal label and value, rows stayed as they are; it does not prove that the model reads the column.
    F. Kamiran, T. Calders, *Data preprocessing techniques for classification without discrimination*, 2012, use
    these weights for training.

    Numbers are cut into quarters (the label of a regression too), columns of over twelve levels are left out, and so
    are those with combinations too rare to be weighted up. Intervals are normal with the bootstrap's standard error
    over rows or units, and hold together over all columns and environments.

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
        columns = dict(_columns(rows.columns))
        environment = rows.data.environment
        cases = [
            _Case(name, environment.names[code], np.flatnonzero(environment.codes.numpy() == code))
            for name in columns
            for code in environment.present()
        ]
        covered = [c for c in cases if self._is_covered(label[c.rows], columns[c.column][c.rows], rows.weight[c.rows])]
        if not covered:
            return Result()
        draws = np.concatenate(list(multiplicities(rows.unit, self.replicates, rng))) * rows.weight
        each = simultaneous_level(self.level, len(covered))
        rises = [_Rise.of(c, rows, (label, columns[c.column]), draws, each) for c in covered]
        rises.sort(key=lambda rise: -rise.value)
        return Result(
            tuple(rise.measurement(rows, self.level) for rise in rises),
            (_table(rises, task.kind, self.level),),
            tuple(rise.finding(task.kind) for rise in self._alarms(rises, rows)),
        )

    def _alarms(self, rises: Sequence[_Rise], rows: Described) -> list[_Rise]:
        """The largest rise of each attribute, where it is surely large.

        That a model loses what a feature says of the label is no reason to act; an attribute should say nothing.
        """
        largest = {rise.column: rise for rise in reversed(rises) if rise.low > self.least}
        return [rise for rise in rises if largest.get(rise.column) is rise and rise.column in rows.data.attributes]

    def _is_covered(self, label: Codes, codes: Codes, weight: Array) -> bool:
        """Whether combinations of enough rows make up nearly all of the reweighted rows."""
        if codes.max() < 1:
            return False
        cells = _sums(label, codes, np.ones(len(label)))
        mass = _sums(label, codes, weight) / weight.sum()
        independent = np.outer(mass.sum(axis=1), mass.sum(axis=0))
        return bool(independent[cells >= FEWEST_IN_CELL].sum() >= self.covered)


@dataclass(frozen=True, eq=False)
class _Case:
    """A column in an environment, and the positions of the environment's rows."""

    column: str
    environment: str
    rows: NDArray[Any]


@dataclass(frozen=True)
class _Rise:
    """Mean loss as it is, and with the column independent of the label."""

    column: str
    environment: str
    n: int
    plain: float
    reweighted: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.reweighted - self.plain

    @staticmethod
    def of(case: _Case, rows: Described, codes: tuple[Codes, Codes], draws: Array, level: float) -> _Rise:
        from scipy.stats import norm

        where = case.rows
        weights = np.concatenate([rows.weight[None, where], draws[:, where]])
        one, *drawn = _losses(rows.loss[where], codes[0][where], codes[1][where], weights)
        error = float(np.nanstd([then - now for now, then in drawn], ddof=1))
        value, reach = float(one[1] - one[0]), float(norm.ppf((1 + level) / 2)) * error
        return _Rise(
            case.column, case.environment, len(where), float(one[0]), float(one[1]), value - reach, value + reach
        )

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
            environment=self.environment,
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
        then = f"If {self.column!r} no longer went with the label in {self.environment!r}"
        return Finding(self.column, f"{then}, {change}, {by}.", alarm=True)


def _losses(loss_of_rows: Array, label: Codes, codes: Codes, weights: Array) -> Array:
    """(R, 2) mean loss under R weightings (R, N), plain and with label and column independent of each other.

    A combination that a weighting leaves empty counts with the mean loss of its label.
    """
    shape = (int(label.max()) + 1, int(codes.max()) + 1)
    cell = np.zeros((len(label), shape[0] * shape[1]))
    cell[np.arange(len(label)), label * shape[1] + codes] = 1
    mass = (weights @ cell).reshape(-1, *shape)
    loss = (weights @ (cell * loss_of_rows[:, None])).reshape(-1, *shape)
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
    texts = series.astype(object).where(series.notna(), None).map(str)
    return np.asarray(pd.factorize(texts, sort=True)[0])


def _table(rises: Sequence[_Rise], kind: Kind, level: float) -> Table:
    wrong = "error" if kind == "classification" else "squared error"
    numbers = ((r, (r.plain, r.reweighted, r.value, r.low, r.high)) for r in rises)
    lines = [(r.column, r.environment, *(round(number, 5) for number in values)) for r, values in numbers]
    return Table(
        "if a column no longer went with the label",
        ("column", "environment", f"{wrong} now", f"{wrong} then", "rise", "low", "high"),
        tuple(lines),
        "Rows of an environment are reweighted so that column and label are independent, each as frequent as it is. "
        "It is what such a shift would do, and no proof that the model reads the column. "
        f"Intervals hold together at level {level:g}.",
    )
