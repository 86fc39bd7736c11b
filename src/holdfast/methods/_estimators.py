"""Rows as scikit-learn takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def arrays(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Inputs flattened to (N, F) float64, labels (N,), and row weights (N,) or None.

    Raises:
        UserError: The inputs are not one tensor, or the labels are of one class.
    """
    if not isinstance(data.x, Tensor):
        raise UserError(
            f"scikit-learn takes one table, these rows have {', '.join(data.x)}: use a network, such as erm"
        )
    if not data.labels.is_floating_point() and bool((data.labels == data.labels[0]).all()):
        raise UserError("all rows to fit on have the same label: there is nothing to learn")
    weight = None if data.weight is None else data.weight.cpu().double().numpy()
    return data.x.flatten(1).cpu().to(torch.float64).numpy(), data.labels.cpu().numpy(), weight
