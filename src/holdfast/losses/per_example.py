"""Per-example losses: from outputs (B, K) and labels (B,) to (B,)."""

from __future__ import annotations

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


def default_loss(kind: Literal["classification", "regression"]) -> Loss:
    """The loss that a kind of task has by default."""
    return cross_entropy if kind == "classification" else squared_error
