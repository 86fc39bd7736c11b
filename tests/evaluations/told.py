"""A model that predicts what a test told it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from holdfast.core.evaluation import Prediction


class Says:
    """Predicts what it was told for each row id."""

    module = None

    def __init__(self, outputs: np.ndarray) -> None:
        self.outputs = torch.tensor(outputs)

    def predict(self, rows: Any) -> Prediction:
        said = self.outputs[rows.index]
        return Prediction(logits=said) if said.ndim == 2 else Prediction(mean=said)
