"""Sums over rows of functions of outer products, without the products."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.gradients.statistics import Stat, Stats


def outer_products(left: Tensor, right: Tensor, needs: frozenset[Stat]) -> Stats:
    """Statistics of B matrices left_i ⊗ right_i of shape (m, n), each the gradient of one environment.

    The sign and the square of a product are products and its logarithm is a sum, so that each statistic is a product
    of two matrices, as is the sum itself.

    Args:
        left: (B, m).
        right: (B, n).
        needs: Which statistics.

    >>> outer_products(torch.tensor([[1.0], [-2.0]]), torch.tensor([[3.0], [1.0]]), frozenset({Stat.SIGN})).sign
    tensor([[0]], dtype=torch.int32)
    """
    log = nonzero = None
    if Stat.LOG in needs:
        left_nonzero, right_nonzero = left != 0, right != 0
        log = _log(left, left_nonzero).t() @ right_nonzero.to(right.dtype)
        log += left_nonzero.to(left.dtype).t() @ _log(right, right_nonzero)
        nonzero = count(left_nonzero.to(torch.int8), right_nonzero.to(torch.int8))
    return Stats(
        environments=len(left),
        sum=left.t() @ right,
        sign=count(left.sign().to(torch.int8), right.sign().to(torch.int8)) if Stat.SIGN in needs else None,
        square=left.square().t() @ right.square() if Stat.SQUARE in needs else None,
        log=log,
        nonzero=nonzero,
    )


def count(left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ right of (B, m) and (B, n) int8 matrices, exactly, as int32."""
    if left.device.type == "cpu" and left.shape[1] > 1:  # of a single row, torch 2.13 gives a wrong integer product
        return torch._int_mm(left.t(), right)
    return (left.float().t() @ right.float()).to(torch.int32)


def _log(values: Tensor, nonzero: Tensor) -> Tensor:
    return values.abs().log_().masked_fill_(~nonzero, 0)
