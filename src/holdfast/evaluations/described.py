"""Test rows with what a model gets wrong on them and with columns that describe them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.evaluation import Predictor
from holdfast.core.task import Split, TaskData
from holdfast.evaluations.sampled import even_rows
from holdfast.evaluations.scored import headline, score
from holdfast.representations import image_summaries
from holdfast.statistics.means import mean_over_units
from holdfast.statistics.resampling import unit_index

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Described:
    """N rows.

    Attributes:
        data: The rows.
        loss: (N,) 1 for a wrong class and 0 for the right one, or the squared error over the label's variance.
        label: (N,) names of the classes, or the numbers.
        columns: (N, K) what describes them: the columns of a table, or attributes and summaries of pictures.
        weight: (N,) row weights.
        unit: (N,) codes of units; every row its own where there are none.
    """

    data: Dataset
    loss: NDArray[np.float64]
    label: Array
    columns: pd.DataFrame
    weight: NDArray[np.float64]
    unit: NDArray[np.intp]

    def halves(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Positions of two random halves of the rows; no unit is in both."""
        first = rng.permutation(int(self.unit.max()) + 1) % 2 == 0
        return np.flatnonzero(first[self.unit]), np.flatnonzero(~first[self.unit])

    def excess(self, members: Array, others: Array) -> Excess:
        """How much more is lost on the rows at some positions than on those at others."""
        return Excess(len(members), *self._mean(members), *self._mean(others)[:2])

    def _mean(self, where: Array) -> tuple[float, float, int]:
        """Weighted mean loss of some rows, its standard error over units, and how many these are."""
        mean, error, units = mean_over_units(self.loss[where], self.weight[where], self.unit[where])
        if mean in (0.0, 1.0):  # as if one row more were right and one wrong: that all of a few agree is no certainty
            error = 0.5 / len(where) * float(np.sqrt(units / max(units - 1, 1)))
        return mean, error, units


@dataclass(frozen=True)
class Excess:
    """Mean losses of n rows and of others.

    Attributes:
        n: How many rows there are.
        inside, outside: Their mean loss and that of the others; each with its standard error.
        units: How many units the n rows are.
    """

    n: int
    inside: float
    inside_error: float
    units: int
    outside: float
    outside_error: float

    @property
    def value(self) -> float:
        """The difference."""
        return self.inside - self.outside

    @property
    def error(self) -> float:
        """Its standard error."""
        return float(np.hypot(self.inside_error, self.outside_error))

    @property
    def p(self) -> float:
        """One-sided p-value of there being no excess, by Student's t with the n rows' degrees of freedom."""
        from scipy.stats import t

        return float(t.sf(self.value / self.error, max(self.units - 1, 1))) if self.error else 1.0


def described_rows(predictor: Predictor, task: TaskData, most: int, rng: np.random.Generator) -> Described | None:
    """At most so many test rows, evenly from the environments; None where there are too few, or no number is finite."""
    data = even_rows(task, most, rng)
    if data is None:
        return None
    rows = score(predictor, Split("test", "test", data))
    per_row = headline(task.kind).per_row
    assert per_row is not None, "a headline metric is a mean over rows"
    value = per_row(rows.y, rows.scores)
    loss = 1 - value if task.kind == "classification" else value / (float(np.var(rows.y)) or 1.0)
    if not np.isfinite(rows.scores).any():
        return None
    return Described(
        data=data,
        loss=np.nan_to_num(loss, nan=float(np.nanmax(loss, initial=1.0))),
        label=np.asarray(task.classes, dtype=object)[rows.y] if task.classes else rows.y,
        columns=_columns(task, data),
        weight=np.ones(len(data)) if rows.weight is None else rows.weight,
        unit=unit_index(len(data), rows.unit),
    )


def _columns(task: TaskData, data: Dataset) -> pd.DataFrame:
    import pandas as pd

    if task.raw is not None:
        return task.raw.rows(data.index).reset_index(drop=True)
    known = {"environment": data.environment, **data.attributes}
    columns: dict[str, Any] = {
        name: np.asarray([*column.names, None], dtype=object)[column.codes.numpy()] for name, column in known.items()
    }
    x = data.batch().x
    if isinstance(x, Tensor) and x.ndim == 4:
        columns |= {name: values.numpy() for name, values in image_summaries(x).items()}
    return pd.DataFrame(columns)
