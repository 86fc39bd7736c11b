"""What a model that was made elsewhere reads: raw columns of a table, or tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.task import RawTable, TaskData

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.foreign.predictor import Model


@dataclass(frozen=True, eq=False)
class Inputs:
    """Turns rows of a task into what a model reads.

    Attributes:
        raw: The task's table; None where its rows are tensors.
        columns: Those that the model reads, in its order; None for all of the table's.
        frame: Whether the model reads a DataFrame rather than an array of numbers.
    """

    raw: RawTable | None
    columns: tuple[str, ...] | None
    frame: bool

    @staticmethod
    def of(task: TaskData, model: Model) -> Inputs:
        """What this model reads of this task.

        Raises:
            UserError: A column is missing, or the number of columns differs.
        """
        if model.reads_text:
            return Inputs.of_text(task, model)
        if task.raw is None:
            return Inputs(None, None, frame=False)
        known = tuple(map(str, task.raw.frame.columns))
        if model.columns is not None:
            missing = [name for name in model.columns if name not in known]
            if missing:
                raise UserError(f"the model reads the column {missing[0]!r}, which {_without(task, missing[0])}")
            return Inputs(task.raw, model.columns, model.reads_frame)
        if model.reads_frame and model.width is None:
            return Inputs(task.raw, None, frame=True)
        features = task.raw.features
        if model.width not in (None, len(features)):
            raise UserError(
                f"the model reads {model.width} columns without names, and the table has {len(features)} features "
                f"({', '.join(features[:8])}{', …' if len(features) > 8 else ''}): leave some out with --drop"
            )
        return Inputs(task.raw, features, frame=False)

    @staticmethod
    def of_text(task: TaskData, model: Model) -> Inputs:
        """The one column of text.

        Raises:
            UserError: There is not one.
        """
        from holdfast.tables import text_column

        if task.raw is None:
            raise UserError(f"{model.name} reads text: give it a table with a column of text")
        column = text_column(task.raw.frame, task.raw.features, "the table")
        return Inputs(task.raw, (column,), frame=True)

    def read(self, rows: Dataset | pd.DataFrame) -> Any:
        """A DataFrame, a float32 array (N, F), or a tensor (N, …)."""
        if self.raw is None:
            if not isinstance(rows, Dataset):
                raise UserError("this task's rows are no table")
            x = rows.batch().x
            return x if isinstance(x, Tensor) else next(iter(x.values()))
        frame = self.raw.rows(rows.index) if isinstance(rows, Dataset) else rows
        frame = frame if self.columns is None else frame[list(self.columns)]
        return frame if self.frame else numbers_of(frame)


def numbers_of(frame: pd.DataFrame) -> NDArray[np.float32]:
    """(N, F) float32 of columns of numbers.

    Raises:
        UserError: A column holds something else.
    """
    import pandas as pd

    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise UserError(
                f"the model reads numbers, and column {name!r} holds {str(frame[name].iloc[0])!r}: leave it out with "
                "--drop, or wrap the model in a function that takes the DataFrame and name it as module:function"
            )
    return np.asarray(frame.to_numpy(dtype=np.float32, na_value=np.nan))


def tensor_of(inputs: Any) -> Tensor:
    """What :meth:`Inputs.read` gave, as a tensor."""
    return inputs if isinstance(inputs, Tensor) else torch.from_numpy(np.ascontiguousarray(inputs))


def _without(task: TaskData, name: str) -> str:
    near = ", ".join(map(str, task.raw.frame.columns[:12])) if task.raw is not None else ""
    return f"the table does not have beside its label; it has {near}"
