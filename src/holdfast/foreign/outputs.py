"""What a model's outputs mean, found by predicting a few rows; what does not fit is refused at once."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.task import TaskData
from holdfast.foreign.predictor import ForeignPredictor, Reading

PROBED = 64
CLOSE = 1e-4


def probed(predictor: ForeignPredictor, task: TaskData) -> tuple[Reading, tuple[str, ...]]:
    """What the outputs of a model mean on a task, with remarks.

    Raises:
        UserError: The model fails on the rows, or its outputs do not fit the task.
    """
    data = next(split.data for split in task.splits if split.role == "test")
    rows = data.take(torch.linspace(0, len(data) - 1, min(PROBED, len(data))).long())
    outputs = predictor.outputs(rows)
    if not torch.isfinite(outputs).all():
        raise UserError(f"{predictor.model.name} puts out numbers that are not finite: it cannot be audited")
    reading, note = _reading(predictor, outputs, task)
    remarks = (note, *_dependent(predictor, rows, outputs))
    predictor.reading(reading).predict(rows)  # the classes fit
    return reading, tuple(filter(None, remarks))


def _reading(predictor: ForeignPredictor, outputs: Tensor, task: TaskData) -> tuple[Reading, str]:
    width, name = outputs.shape[1], predictor.model.name
    if task.kind == "regression":
        if width != 1:
            raise UserError(f"{name} puts out {width} numbers per row, and a regression needs one")
        return "numbers", ""
    if predictor.model.reading is not None:
        reading, note = predictor.model.reading, ""
    else:
        reading, note = _guessed(outputs, len(task.classes))
    needed = 1 if reading in ("logit", "probability", "labels") else len(predictor.model.classes or task.classes)
    if width != needed or (width == 1 and reading != "labels" and len(task.classes) != 2):
        raise UserError(
            f"{name} puts out {width} numbers per row, and the rows have {len(task.classes)} classes "
            f"({', '.join(task.classes[:10])}): name the column that it was trained on as --label"
        )
    return reading, note


def _guessed(outputs: Tensor, classes: int) -> tuple[Reading, str]:
    within = bool((outputs >= 0).all() and (outputs <= 1).all())
    if outputs.shape[1] == 1:
        if within:
            return "probability", "the model's one output is read as the probability of the second class"
        return "logit", "the model's one output is read as the logit of the second class"
    if within and torch.allclose(outputs.sum(dim=1), torch.ones(len(outputs), dtype=outputs.dtype), atol=1e-3):
        sure = bool(((outputs == 0) | (outputs == 1)).all())
        only = ": it gives labels only, and says nothing of how sure it is" if sure else ""
        return "probabilities", f"the model's outputs are read as probabilities{only}"
    return "logits", "the model's outputs are read as logits"


def _dependent(predictor: ForeignPredictor, rows: Dataset, outputs: Tensor) -> list[str]:
    """Remarks on a model whose answers change by themselves or with the other rows of the batch."""
    scale = CLOSE * float(outputs.abs().max().clamp_min(1.0))
    if (predictor.outputs(rows) - outputs).abs().max() > scale:
        return ["the model gives other answers when asked again: every number here has that noise in it"]
    few = torch.arange(min(4, len(rows)))
    alone = torch.cat([predictor.outputs(rows.take(few[k : k + 1])) for k in range(len(few))])
    if (alone - outputs[: len(few)]).abs().max() > scale:
        return ["the model's answer for a row depends on the other rows of its batch: numbers depend on the batch size"]
    return []
