"""A model that was made elsewhere, as a predictor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Prediction
from holdfast.core.others_code import running
from holdfast.core.predictors import LEAST_PROBABILITY
from holdfast.core.task import Kind
from holdfast.foreign.inputs import Inputs

if TYPE_CHECKING:
    import pandas as pd

BATCH = 1024

Reading = Literal["logits", "probabilities", "logit", "probability", "labels", "numbers"]
"""What outputs mean: one column is a logit or probability of the second class."""


@dataclass(frozen=True, eq=False)
class Model:
    """An opened model.

    Attributes:
        name: How messages call it.
        run: From what it reads, a batch of it, to its outputs: an array or tensor of (B,) or (B, K).
        reads_frame: Whether it reads a DataFrame, where rows are of a table.
        reads_text: Whether it reads the one column of text of a table, as a DataFrame.
        columns: Names of the columns it reads, where it knows them.
        width: How many columns it reads, where it knows that and no names.
        classes: Names of the classes of its outputs in their order, where it knows them.
        reading: What its outputs are, where its format says so.
        module: The network, where there is one.
        notes: Remarks for the report.
    """

    name: str
    run: Callable[[Any], Any]
    reads_frame: bool = False
    reads_text: bool = False
    columns: tuple[str, ...] | None = None
    width: int | None = None
    classes: tuple[str, ...] | None = None
    reading: Reading | None = None
    module: nn.Module | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ForeignPredictor:
    """A model on rows of a task.

    Attributes:
        model: Opened.
        inputs: What it reads of a row.
        kind, classes: Of the task.
        means: What its outputs are.
    """

    model: Model
    inputs: Inputs
    kind: Kind
    classes: tuple[str, ...]
    means: Reading = "logits"

    @property
    def module(self) -> nn.Module | None:
        """The network, where rows of the task are what it reads."""
        return self.model.module if self.inputs.raw is None else None

    def reading(self, means: Reading) -> ForeignPredictor:
        """The same, with outputs that mean this."""
        return dataclasses.replace(self, means=means)

    def predict(self, rows: Dataset | pd.DataFrame) -> Prediction:
        """Predict N rows of the task, or raw rows of its table.

        Raises:
            UserError: The model fails on them.
        """
        outputs = self.outputs(rows)
        if self.kind == "regression":
            return Prediction(mean=outputs[:, 0])
        return Prediction(logits=self._logits(outputs)[:, self._order()])

    def outputs(self, rows: Dataset | pd.DataFrame) -> Tensor:
        """(N, K) what the model puts out, in float64."""
        batches = [self._batch(rows, slice(start, start + BATCH)) for start in range(0, max(len(rows), 1), BATCH)]
        return torch.cat(batches)

    def _batch(self, rows: Dataset | pd.DataFrame, where: slice) -> Tensor:
        if isinstance(rows, Dataset):
            part: Any = rows.take(torch.arange(len(rows))[where])
        else:
            part = rows.iloc[where]
        with running(self.model.name):
            given = self.model.run(self.inputs.read(part))
        return _as_table(given, len(part), self.model.name)

    def _logits(self, outputs: Tensor) -> Tensor:
        match self.means:
            case "logits":
                return outputs
            case "logit":
                return torch.cat([torch.zeros_like(outputs), outputs], dim=1)
            case "probabilities":
                return outputs.clamp_min(LEAST_PROBABILITY).log()
            case "probability":
                both = torch.cat([1 - outputs, outputs], dim=1)
                return both.clamp_min(LEAST_PROBABILITY).log()
            case _:
                codes = outputs[:, 0].round().long()
                one_hot = nn.functional.one_hot(codes.clamp(0, self._known() - 1), self._known()).double()
                return one_hot.clamp_min(LEAST_PROBABILITY).log()

    @property
    def by_code(self) -> bool:
        """Whether the model knows the classes as 0 … C−1 and the rows by names."""
        codes = tuple(map(str, range(len(self.classes))))
        known = tuple(map(_plain, self.model.classes or ()))
        return known == codes != tuple(map(_plain, self.classes))

    def _known(self) -> int:
        return len(self.model.classes or self.classes)

    def _order(self) -> list[int]:
        """Where the model puts each of the task's classes."""
        known = self.model.classes
        if known is None or self.by_code:
            return list(range(len(self.classes)))
        place = {_plain(name): k for k, name in enumerate(known)}
        missing = [name for name in self.classes if _plain(name) not in place]
        if missing or len(known) != len(self.classes):
            ours, theirs = (", ".join(names[:10]) for names in (self.classes, known))
            raise UserError(
                f"the model knows the classes {theirs}, and the rows have {ours}: name the column that it was trained "
                "on as --label"
            )
        return [place[_plain(name)] for name in self.classes]


def _as_table(given: Any, rows: int, name: str) -> Tensor:
    """(B, K) float64 of what a model returned for B rows.

    Raises:
        UserError: It is no array of numbers, or of another number of rows.
    """
    if hasattr(given, "logits"):
        given = given.logits
    if isinstance(given, (tuple, list)) and given and not np.isscalar(given[0]):
        given = given[0]
    if isinstance(given, dict):
        given = given.get("logits", next(iter(given.values()), None))
    try:
        table = given.detach().cpu().double() if isinstance(given, Tensor) else _numbers(given)
    except (TypeError, ValueError):
        raise UserError(f"{name} returned {type(given).__name__}, which is no array of numbers") from None
    if table.ndim == 0 or len(table) != rows:
        raise UserError(f"{name} returned {tuple(table.shape)} for {rows} rows: one line per row is needed")
    return table.reshape(rows, -1)


def _numbers(given: Any) -> Tensor:
    return torch.from_numpy(np.array(given, dtype=np.float64))


def _plain(name: str) -> str:
    """A class as text: ``1``, ``1.0`` and ``True`` are one."""
    text = str(name).strip()
    if text in ("True", "False", "true", "false"):
        return str(int(text.lower() == "true"))
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text
