"""Per-example losses: from outputs (B, K) and labels (B,) to (B,)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihood of classes y (B,) under logits (B, C); (B, 1) is one logit for class 1 of two."""
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs.squeeze(1), y.to(outputs.dtype), reduction="none")
    return F.cross_entropy(outputs, y, reduction="none")


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """(output − y)² for outputs (B, 1) and targets (B,)."""
    return (outputs.squeeze(1) - y).square()


def half_squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """½(output − y)²: the convention under which a quadratic's Hessian is the data's second moment."""
    return squared_error(outputs, y) / 2


def default_loss(kind: Literal["classification", "regression"], target_scale: float = 1.0) -> Loss:
    """The loss that a kind of task has by default.

    Args:
        kind: Classification has :func:`cross_entropy`, regression :func:`squared_error` in units of ``target_scale``².
        target_scale: Makes penalties, regularisation and learning rates mean the same whatever the target's units.
    """
    if kind == "classification":
        return cross_entropy
    return squared_error if target_scale == 1 else functools.partial(_scaled_squared_error, scale=target_scale)


def _scaled_squared_error(outputs: Tensor, y: Tensor, *, scale: float) -> Tensor:
    return squared_error(outputs / scale, y / scale)
