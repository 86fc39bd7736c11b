"""ONNX models, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.core.errors import MissingExtra, UserError
from holdfast.foreign.predictor import Model, Reading

if TYPE_CHECKING:
    import pandas as pd

_NUMPY = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


def open_onnx(path: Path) -> Model:
    """A file of ONNX; of several inputs each reads the column of its name.

    Raises:
        MissingExtra: onnxruntime is not installed.
        UserError: The file cannot be read.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes share no base
        reason = str(error).strip().partition("\n")[0][:150]
        raise UserError(f"cannot read {path} ({reason}): export the model again") from None
    inputs, output = session.get_inputs(), _output(session)
    several = len(inputs) > 1

    def run(x: Any) -> Any:
        given = _columns(x, inputs) if several else {inputs[0].name: _array(x, inputs[0].type)}
        return _table(session.run([output.name], given)[0])

    return Model(
        path.name,
        run,
        reads_frame=several,
        columns=tuple(i.name for i in inputs) if several else None,
        width=None if several else _width(inputs[0]),
        reading=_reading(output.name),
    )


def _output(session: Any) -> Any:
    """The output of scores: not the labels that converters of scikit-learn put first."""
    outputs = [output for output in session.get_outputs() if "label" not in output.name.lower()]
    return outputs[0] if outputs else session.get_outputs()[0]


def _reading(name: str) -> Reading | None:
    return "probabilities" if "prob" in name.lower() else None


def _width(declared: Any) -> int | None:
    """How many numbers of a row an input of (B, F) takes."""
    shape = declared.shape
    return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None


def _array(x: Any, kind: str) -> Any:
    return np.ascontiguousarray(x, dtype=_NUMPY.get(kind, np.float32))


def _columns(frame: pd.DataFrame, inputs: Any) -> dict[str, Any]:
    """(B, 1) arrays by column, texts where an input takes texts."""
    return {
        declared.name: frame[[declared.name]].astype(str).to_numpy(dtype=object)
        if declared.type == "tensor(string)"
        else frame[[declared.name]].to_numpy(dtype=_NUMPY.get(declared.type, np.float32))
        for declared in inputs
    }


def _table(given: Any) -> Any:
    """Probabilities that come as one dictionary per row, as an array."""
    return np.array([list(row.values()) for row in given]) if isinstance(given, list) else given
