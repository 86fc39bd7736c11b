"""From what a user names to a predictor: which kind of model is it, and what do its outputs mean?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import UserError
from holdfast.core.evaluation import Predictor
from holdfast.core.others_code import DOTTED
from holdfast.core.task import TaskData
from holdfast.foreign.formats import Format, format_of
from holdfast.foreign.inputs import Inputs
from holdfast.foreign.outputs import probed
from holdfast.foreign.predictor import ForeignPredictor, Model
from holdfast.tasks.hub import PREFIX


@dataclass(frozen=True)
class Loaded:
    """A model with one-line remarks, such as how its outputs are read."""

    predictor: Predictor
    notes: tuple[str, ...]


def load(model: str, task: TaskData, *, trust_pickle: bool = False) -> Loaded:
    """A model that was made elsewhere.

    Args:
        model: ``module:callable``; a file of skops, TorchScript, ``torch.export`` or ONNX; the folder of a Hugging
            Face classifier, or ``hub:OWNER/NAME``.
        task: What it is to predict. On a table it reads the raw columns, on pictures (B, C, H, W) in [0, 1].
        trust_pickle: Open pickles too, which can run any code.

    Raises:
        UserError: It cannot be opened, does not fit the task, or fails on its rows: one line each.
    """
    opened = _opened(model, trust_pickle)
    inputs = Inputs.of(task, opened)
    predictor = ForeignPredictor(opened, inputs, task.kind, task.classes)
    reading, notes = probed(predictor, task)
    return Loaded(predictor.reading(reading), (*opened.notes, *notes))


def _opened(model: str, trust_pickle: bool) -> Model:
    path = Path(model)
    if model.startswith(PREFIX):
        from holdfast.foreign.hugging_face import open_classifier

        return open_classifier(model.removeprefix(PREFIX))
    if not path.exists() and re.fullmatch(DOTTED, model):
        from holdfast.foreign.callables import open_callable

        return open_callable(model)
    if not path.exists():
        raise UserError(f"there is no model {model!r}: name a file or folder, or module:callable")
    return _open_file(path, format_of(path), trust_pickle)


def _open_file(path: Path, kind: Format, trust_pickle: bool) -> Model:
    match kind:
        case "skops":
            from holdfast.foreign.estimators import open_skops

            return open_skops(path)
        case "pickle" | "torch-pickle":
            from holdfast.foreign.pickles import open_pickle

            return open_pickle(path, kind, trusted=trust_pickle)
        case "torchscript":
            from holdfast.foreign.torch_files import open_torchscript

            return open_torchscript(path)
        case "torch-export":
            from holdfast.foreign.torch_files import open_export

            return open_export(path)
        case "onnx":
            from holdfast.foreign.onnx_file import open_onnx

            return open_onnx(path)
        case "hugging-face":
            from holdfast.foreign.hugging_face import open_classifier

            return open_classifier(str(path))
