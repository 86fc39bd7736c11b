"""Per-example losses: from outputs (B, K) and labels (B,) to (B,)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihood of classes y (B,) under logits (B, C); (B, 1) is one logit for class 1 of two."""
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs.squeeze(1), y.to(outputs.dtype), reduction="none")
    return F.cross_entropy(outputs, y, reduction="none")


def generalized_cross_entropy(outputs: Tensor, y: Tensor, q: float = 0.7, least: float = 0.0) -> Tensor:
    """(1 − p_y^q) / q: between cross-entropy (q → 0) and 1 − p_y (q = 1).

    Its gradient is p_y^q times that of cross-entropy: rows that the model agrees with count more. Against wrong labels
    that is robust; where a shortcut explains most labels, it makes the model rely on the shortcut all the more.

    Zhang, Sabuncu, *Generalized cross entropy loss for training deep neural networks with noisy labels*, NeurIPS 2018,
    arXiv:1805.07836.

    Args:
        outputs: As for :func:`cross_entropy`.
        y: The same.
        q: In (0, 1].
        least: Where p_y is at most this, the loss is constant, so that such rows train nothing: the truncated loss.

    >>> import torch
    >>> generalized_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), q=1.0)
    tensor([0.5000])
    """
    entropy = cross_entropy(outputs, y)
    if least > 0:
        entropy = entropy.clamp_max(-math.log(least))
    return -torch.expm1(-q * entropy) / q


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
