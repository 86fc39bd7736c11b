"""Predictors: a network or a fitted estimator, seen as ``predict(rows) -> Prediction``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Prediction, Predictor
from holdfast.core.task import Kind

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.tables import Encoder, TokenEncoder

BLOCK_BYTES = 1 << 20
"""Inputs of a forward pass: what a network makes of more is too large for the allocator to use again, and slower."""
LEAST_PROBABILITY = torch.finfo(torch.float64).eps
"""What an estimator's probability of zero is read as: its log is finite, and a wrong label still costs 36 nats."""

Checkpoints = Mapping[int, Callable[[], nn.Module]]
"""The network after so many updates, each made anew when called for."""


@dataclass(frozen=True, eq=False)
class ModulePredictor:
    """A network as a predictor, which runs where its weights are; it is in evaluation mode for the time of a call.

    Args:
        module: From inputs (B, …) to outputs (B, K).
        kind: Of the task.
        classes: Names of its C classes; empty for regression.
        encoder: Reads raw rows, where the task is a table.
        batch_size: Rows at a time, or fewer where they are large (:func:`blocks`).
        checkpoints: The network at kept steps of its training, each made when called for.

    >>> linear = nn.Linear(2, 1)
    >>> _ = nn.init.ones_(linear.weight), nn.init.zeros_(linear.bias)
    >>> rows = Dataset(torch.eye(2), None, Column.constant(2))
    >>> ModulePredictor(linear, "classification", ("no", "yes")).predict(rows).logits
    tensor([[0., 1.],
            [0., 1.]])
    """

    module: nn.Module
    kind: Kind
    classes: tuple[str, ...] = ()
    encoder: Encoder | TokenEncoder | None = None
    batch_size: int = 4096
    checkpoints: Checkpoints = field(default_factory=dict)

    def predict(self, rows: Dataset | pd.DataFrame) -> Prediction:
        """Predict N rows.

        Args:
            rows: Encoded, or raw where there is an encoder.

        Raises:
            UserError: The module's outputs are not what the kind of task asks for, or nothing reads raw rows.
        """
        outputs = forward(self.module, _encoded(rows, self.encoder), self.batch_size)
        if self.kind == "regression":
            return Prediction(mean=_of_width(outputs, 1, "one number per row for regression").squeeze(1))
        if len(self.classes) == 2 and outputs.shape[1] == 1:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        return Prediction(logits=_of_width(outputs, len(self.classes), f"one for each of {len(self.classes)} classes"))


@dataclass(frozen=True, eq=False)
class EstimatorPredictor:
    """A fitted scikit-learn estimator as a predictor; inputs are flattened to (N, F).

    Args:
        estimator: Trained on class codes 0 … C−1, of which some may have been absent, or on targets.
        kind: Of the task.
        classes: Names of its C classes; empty for regression.
        encoder: Reads raw rows, where the task is a table.

    >>> from sklearn.dummy import DummyClassifier
    >>> constant = DummyClassifier(strategy="prior").fit([[0.0], [0.0], [0.0]], [0, 2, 2])
    >>> rows = Dataset(torch.zeros(1, 1), None, Column.constant(1))
    >>> EstimatorPredictor(constant, "classification", ("a", "b", "c")).predict(rows).logits.exp().round(decimals=3)
    tensor([[0.3330, 0.0000, 0.6670]], dtype=torch.float64)
    """

    estimator: Any
    kind: Kind
    classes: tuple[str, ...] = ()
    encoder: Encoder | TokenEncoder | None = None

    @property
    def module(self) -> None:
        """There is no network to look into."""

    def predict(self, rows: Dataset | pd.DataFrame) -> Prediction:
        """Predict N rows.

        Args:
            rows: Encoded, or raw where there is an encoder.

        Raises:
            UserError: The estimator has no probabilities or other classes than the task, or the rows cannot be read.
        """
        data = _encoded(rows, self.encoder)
        if isinstance(data.x, dict):
            raise UserError("a scikit-learn estimator reads one array: choose a network for rows of several inputs")
        outputs = torch.cat([self._outputs(data.batch(block).x) for block in blocks(data)])
        return Prediction(mean=outputs.squeeze(1)) if self.kind == "regression" else Prediction(logits=outputs)

    def _outputs(self, x: Any) -> Tensor:
        """(M, 1) means or (M, C) logits of inputs (M, …)."""
        features = x.flatten(1).cpu().numpy()
        if self.kind == "regression":
            return torch.as_tensor(self.estimator.predict(features), dtype=torch.float64).reshape(len(x), 1)
        name = type(self.estimator).__name__
        if not hasattr(self.estimator, "predict_proba"):
            raise UserError(f"{name} gives no probabilities: choose an estimator that has predict_proba")
        known = self.estimator.classes_.tolist()
        if not set(known) <= set(range(len(self.classes))):
            raise UserError(f"{name} knows the classes {known}: train it on codes 0 … {len(self.classes) - 1}")
        codes = [int(code) for code in known]
        probabilities = torch.zeros(len(x), len(self.classes), dtype=torch.float64)
        probabilities[:, codes] = torch.as_tensor(self.estimator.predict_proba(features), dtype=torch.float64)
        return probabilities.clamp_min(LEAST_PROBABILITY).log()


def cached(predictor: Predictor, splits: Iterable[Dataset]) -> Predictor:
    """The predictor, remembering what it said of these data sets, so that several evaluations cost one pass.

    Data sets are told apart by identity; what is said of others is not kept.
    """
    return _Cached(predictor, {id(rows): rows for rows in splits})


def checkpoints_of(predictor: Predictor) -> Checkpoints:
    """The kept steps of a predictor's training; empty where nothing is known of it."""
    found: Checkpoints = getattr(predictor, "checkpoints", {})
    return found


def forward(model: nn.Module, rows: Dataset, batch_size: int = 4096) -> Tensor:
    """Outputs (N, K) of a model in evaluation mode, without gradients; all modes are restored.

    The model runs where its weights are; outputs are on the CPU.
    """
    tensors = itertools.chain(model.parameters(), model.buffers())
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            outputs = [model(_inputs(rows, block, device)).cpu() for block in blocks(rows, batch_size)]
    finally:
        for layer, mode in modes:
            layer.training = mode
    return torch.cat(outputs).reshape(len(rows), -1) if len(rows) else outputs[0]


def blocks(rows: Dataset, most: int = 4096) -> Iterator[slice]:
    """Slices of rows, one after the other, of at most ``most`` rows and 1 MiB of inputs, but one row at least.

    No rows make one empty block, from which the width of outputs can be told.

    >>> list(blocks(Dataset(torch.zeros(5, 2), None, Column.constant(5)), most=3))
    [slice(0, 3, None), slice(3, 6, None)]
    """
    x = rows.x.values() if isinstance(rows.x, dict) else [rows.x]
    size = sum(math.prod(values.shape[1:]) * values.dtype.itemsize for values in x)
    step = max(1, min(most, BLOCK_BYTES // max(size, 1)))
    return (slice(start, start + step) for start in range(0, max(len(rows), 1), step))


@dataclass(frozen=True, eq=False)
class _Cached:
    predictor: Predictor
    splits: dict[int, Dataset]
    known: dict[int, Prediction] = field(default_factory=dict)

    @property
    def module(self) -> nn.Module | None:
        return self.predictor.module

    @property
    def checkpoints(self) -> Checkpoints:
        return checkpoints_of(self.predictor)

    def predict(self, rows: Dataset | pd.DataFrame) -> Prediction:
        if id(rows) not in self.splits:
            return self.predictor.predict(rows)
        if id(rows) not in self.known:
            self.known[id(rows)] = self.predictor.predict(rows)
        return self.known[id(rows)]


def _encoded(rows: Dataset | pd.DataFrame, encoder: Encoder | TokenEncoder | None) -> Dataset:
    if isinstance(rows, Dataset):
        return rows
    if encoder is None:
        raise UserError("this model has no encoder for raw rows: give it a Dataset")
    return Dataset(encoder.inputs(rows), None, Column.constant(len(rows)))


def _inputs(rows: Dataset, where: slice, device: torch.device) -> Any:
    x = rows.batch(where).x
    return {name: tensor.to(device) for name, tensor in x.items()} if isinstance(x, dict) else x.to(device)


def _of_width(outputs: Tensor, width: int, wanted: str) -> Tensor:
    if outputs.shape[1] != width:
        raise UserError(f"the model puts out {outputs.shape[1]} numbers per row: this task needs {wanted}")
    return outputs
