"""Rows as scikit-learn takes them."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import torch

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs

if TYPE_CHECKING:
    import numpy as np


def arrays(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Inputs flattened to (N, F) float64, labels (N,), and row weights (N,) or None.

    Raises:
        UserError: The inputs are not one tensor, do not fit into memory, or the labels are of one class.
    """
    if isinstance(data.x, dict):
        raise UserError(
            f"scikit-learn takes one table, these rows have {', '.join(data.x)}: use a network, such as erm"
        )
    if not data.labels.is_floating_point() and bool((data.labels == data.labels[0]).all()):
        raise UserError("all rows to fit on have the same label: there is nothing to learn")
    weight = None if data.weight is None else data.weight.cpu().double().numpy()
    return _in_memory(data.x).flatten(1).cpu().to(torch.float64).numpy(), data.labels.cpu().numpy(), weight


def _in_memory(x: torch.Tensor | LazyInputs) -> torch.Tensor:
    """All rows.

    Raises:
        UserError: They would not fit, in the type of the inputs and in float64.
    """
    if not isinstance(x, LazyInputs):
        return x
    needed, free = math.prod(x.shape) * (x.dtype.itemsize + 8), free_bytes()
    if free is not None and needed > free:
        raise UserError(
            f"scikit-learn needs all {len(x):,} rows in memory, {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            "free: use a network, such as erm, or smaller rows"
        )
    return x[:]


def free_bytes() -> int | None:
    """Memory that is free now; None where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
