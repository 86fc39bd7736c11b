"""Sums over environments of one parameter, fed block by block."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.gradients.statistics import Stat, Stats


class Accumulator:
    """Streams the gradients of environments into :class:`Stats`; memory is that of the sums, whatever E is.

    All memory is taken at construction: small blocks that are taken amid a backward pass would stay between the
    large ones that it frees, and keep them from being used again.

    Args:
        like: A tensor of the parameter's shape; sums are kept in at least float32.
        needs: Which sums.

    >>> sums = Accumulator(torch.zeros(2), frozenset({Stat.SIGN}))
    >>> sums.add(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    >>> sums.stats().sign
    tensor([ 2., -1.])
    """

    def __init__(self, like: Tensor, needs: frozenset[Stat]) -> None:
        self.needs = needs
        self.environments = 0
        dtype = torch.promote_types(like.dtype, torch.float32)
        names = ["sum", *(stat.value for stat in sorted(needs)), *(["nonzero"] if Stat.LOG in needs else [])]
        self._sums = {name: torch.empty(like.shape, dtype=dtype, device=like.device) for name in names}

    def add(self, block: Tensor) -> None:
        """Add (k, *shape) gradients of k whole environments; the block is overwritten."""
        self._add("sum", block)
        if Stat.SQUARE in self.needs:
            self._add("square", block.square())
        if Stat.LOG in self.needs:
            nonzero = block != 0
            self._add("nonzero", nonzero.to(block.dtype))
            self._add("log", block.abs().log_().masked_fill_(~nonzero, 0))
        if Stat.SIGN in self.needs:
            self._add("sign", block.sign_())
        self.environments += len(block)

    def add_outer_products(self, left: Tensor, right: Tensor) -> None:
        """Add the matrices left_i ⊗ right_i of (B, m) and (B, n), each the gradient of one environment.

        The sign and the square of a product are products and its logarithm is a sum, so that each statistic is a
        product of two matrices, as is the sum itself. To be called once, and without :meth:`add`.
        """
        torch.mm(left.t(), right, out=self._sums["sum"])
        if Stat.SQUARE in self.needs:
            torch.mm(left.square().t(), right.square(), out=self._sums["square"])
        if Stat.LOG in self.needs:
            left_log, right_log = _finite_log(left), _finite_log(right)
            left_nonzero, right_nonzero = (left != 0).to(left.dtype), (right != 0).to(right.dtype)
            torch.mm(left_log.t(), right_nonzero, out=self._sums["log"]).addmm_(left_nonzero.t(), right_log)
            torch.mm(left_nonzero.t(), right_nonzero, out=self._sums["nonzero"])
        if Stat.SIGN in self.needs:
            self._sums["sign"] = _count(_signs(left), _signs(right), self._sums["sign"])
        self.environments = len(left)

    def add_rows(self, gradients: Tensor, rows: Tensor, environments: int) -> None:
        """Add (U, …) gradients of single rows, each of one of the environments; all others are zero.

        To be called once, and without :meth:`add`.
        """
        for name, values in Stats.of(gradients, self.needs).tensors().items():
            total = self._sums[name].zero_()
            total.index_add_(0, rows, values.to(total.dtype))
        self.environments = environments

    def stats(self) -> Stats:
        """What was summed; counts as floats, which hold whole numbers below 2²⁴ exactly, or as int32."""
        return Stats(environments=self.environments, **self._sums)

    def _add(self, name: str, block: Tensor) -> None:
        """Add the sum of a block in one pass over it: 1ᵀ block as a product of matrices, with nothing in between."""
        k, total = len(block), self._sums[name].view(1, -1)
        first = self.environments == 0
        if k == 1 and first:
            total.copy_(block.reshape(1, -1))
        elif k == 1:
            total += block.reshape(1, -1)
        else:
            total.addmm_(block.new_ones(1, k), block.reshape(k, -1), beta=0 if first else 1)


def _finite_log(values: Tensor) -> Tensor:
    return values.abs().log_().masked_fill_(values == 0, 0)


def _signs(values: Tensor) -> Tensor:
    """Signs as int8, made in pieces that stay in the cache."""
    if values.device.type != "cpu":
        return values.sign().to(torch.int8)
    signs = torch.empty(values.shape, dtype=torch.int8)
    rows = max(1, 2**16 // max(1, values.shape[1]))
    piece = torch.empty(rows, values.shape[1], dtype=values.dtype)
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        signs[start : start + rows] = torch.sign(part, out=piece[: len(part)])
    return signs


def _count(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """leftᵀ right of int8 matrices, exactly; in ``out``, or in the same memory as int32 where that is faster."""
    m, n = out.shape
    if out.device.type == "cpu" and m > 1 and n > 1 and out.element_size() == 4:  # torch 2.13 is wrong for m = 1
        return torch._int_mm(left.t(), right, out=out.view(torch.int32))
    return torch.mm(left.to(out.dtype).t(), right.to(out.dtype), out=out)
