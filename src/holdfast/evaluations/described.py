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
from holdfast.evaluations.contributions import sampled_rows
from holdfast.evaluations.scored import headline, score
from holdfast.representations import image_summaries
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


def described_rows(predictor: Predictor, task: TaskData, most: int, rng: np.random.Generator) -> Described | None:
    """At most so many test rows, evenly from the environments; None where there are too few, or no number is finite."""
    data = sampled_rows(task, most, rng)
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
