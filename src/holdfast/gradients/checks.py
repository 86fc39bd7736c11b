"""Refusals of what would silently give a wrong gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from holdfast.core.errors import Diverged, UserError


def check_losses(losses: Any, groups: Any) -> None:
    """Refuse losses and groups that do not belong together.

    Raises:
        UserError: One line that says what is wrong.
    """
    if not isinstance(losses, Tensor) or not losses.is_floating_point():
        raise UserError(f"losses are {_kind(losses)}: give a floating-point tensor with one per example")
    if losses.ndim != 1:
        raise UserError(f"losses have shape {tuple(losses.shape)}: give one per example (reduction='none')")
    if not isinstance(groups, Tensor) or groups.is_floating_point() or groups.is_complex():
        raise UserError(f"groups are {_kind(groups)}: give a tensor of whole numbers, the environment of each row")
    if groups.shape != losses.shape:
        raise UserError(f"groups have shape {tuple(groups.shape)} and losses {tuple(losses.shape)}: give one each")
    if losses.grad_fn is None:
        raise UserError("the losses depend on no parameter: run the model with gradients enabled")
    if not torch.isfinite(losses).all():
        raise Diverged("a loss is not finite: check the inputs and lower the learning rate")


def check_some(losses: Tensor) -> None:
    """Refuse a batch without rows."""
    if losses.numel() == 0:
        raise UserError("there are no losses: the batch is empty")


def check_weights(rows: int, environments: int, row_weights: Tensor | None, environment_weights: Tensor | None) -> None:
    """Refuse weights of other shapes, rows of negative weight, and what is not finite."""
    for name, weights, count in (
        ("row_weights", row_weights, rows),
        ("environment_weights", environment_weights, environments),
    ):
        if weights is None:
            continue
        if weights.shape != (count,):
            raise UserError(f"{name} have shape {tuple(weights.shape)}: there are {count} of them")
        if not torch.isfinite(weights).all():
            raise UserError(f"{name} are not finite")
    if row_weights is not None and bool((row_weights < 0).any()):
        raise UserError("a row weight is negative")


def check_scale(scale: Any) -> None:
    """Refuse a scale that no gradient survives."""
    if not (isinstance(scale, int | float) and math.isfinite(scale) and scale > 0):
        raise UserError(f"scale={scale} must be a positive number: give scaler.get_scale()")


def _kind(value: Any) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
