"""Sums over environments of one parameter, fed block by block."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from holdfast.gradients.statistics import Stat, Stats


class Accumulator:
    """Streams the gradients of environments into :class:`Stats`; memory is that of the sums, whatever E is.

    Args:
        like: A tensor of the parameter's shape; sums are kept in at least float32.
        needs: Which sums.

    >>> sums = Accumulator(torch.zeros(2), frozenset({Stat.SIGN}))
    >>> sums.add(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    >>> sums.stats().sign
    tensor([ 2., -1.])
    """

    sums_only: ClassVar[bool] = True
    """Whether nothing is asked for but sums, so that no gradient of an environment need be made."""

    def __init__(self, like: Tensor, needs: frozenset[Stat]) -> None:
        self.needs = needs
        self.environments = 0
        self._shape, self._device = like.shape, like.device
        self._dtype = torch.promote_types(like.dtype, torch.float32)
        self._order: tuple[int, ...] = ()
        self._sums: dict[str, Tensor] = {}  # (P,), its dimensions in the order of the first block's memory

    def add(self, block: Tensor) -> None:
        """Add (k, *shape) gradients of k whole environments; the block is overwritten."""
        block = self._flat(block.to(self._dtype))
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
        sums = {"sum": left.t() @ right}
        if Stat.SQUARE in self.needs:
            sums["square"] = left.square().t() @ right.square()
        if Stat.LOG in self.needs:
            left_nonzero, right_nonzero = (left != 0).to(left.dtype), (right != 0).to(right.dtype)
            sums["log"] = (_finite_log(left).t() @ right_nonzero).addmm_(left_nonzero.t(), _finite_log(right))
            sums["nonzero"] = left_nonzero.t() @ right_nonzero
        if Stat.SIGN in self.needs:
            sums["sign"] = _count(_signs(left), _signs(right), self._dtype)
        self._sums = {name: total.flatten() for name, total in sums.items()}
        self.environments = len(left)

    def add_rows(self, gradients: Tensor, rows: Tensor, environments: int) -> None:
        """Add (U, …) gradients of single rows, each of one of the environments; all others are zero.

        To be called once, and without :meth:`add`.
        """
        for name, values in Stats.of(gradients, self.needs).tensors().items():
            total = torch.zeros(self._shape, dtype=self._dtype, device=self._device)
            self._sums[name] = total.index_add_(0, rows, values.to(self._dtype)).flatten()
        self.environments = environments

    def stats(self) -> Stats:
        """What was summed; counts are floats, which hold whole numbers below 2²⁴ exactly."""
        return Stats(environments=self.environments, **{name: self._shaped(t) for name, t in self._sums.items()})

    def _add(self, name: str, block: Tensor) -> None:
        """Add the sum of a (k, P) block; all but the first in one pass, 1ᵀ block as a product of matrices."""
        if name in self._sums:
            self._sums[name].view(1, -1).addmm_(block.new_ones(1, len(block)), block)
        else:
            self._sums[name] = block.sum(0)

    def _flat(self, block: Tensor) -> Tensor:
        """(k, *shape) to (k, P): a view of a block whose memory is in the order of the first one's."""
        if not self._sums and not block.is_contiguous():
            self._order = tuple(sorted(range(1, block.ndim), key=block.stride, reverse=True))
        return (block.permute(0, *self._order) if self._order else block).reshape(len(block), -1)

    def _shaped(self, total: Tensor) -> Tensor:
        """(P,) to the parameter's shape."""
        if not self._order:
            return total.view(self._shape)
        places = [self._order.index(dimension) for dimension in range(1, len(self._order) + 1)]
        return total.view([self._shape[d - 1] for d in self._order]).permute(places).contiguous()


def _finite_log(values: Tensor) -> Tensor:
    return values.abs().log_().masked_fill_(values == 0, 0)


def _signs(values: Tensor) -> Tensor:
    """Signs as int8, made in a few pieces: their floats would take as much memory as the values."""
    signs = torch.empty(values.shape, dtype=torch.int8, device=values.device)
    for part, out in zip(_pieces(values), _pieces(signs), strict=True):
        out.copy_(part.sign())
    return signs


def _pieces(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, 2**18 // max(1, rows.shape[1])))


def _count(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """leftᵀ right of int8 matrices, exactly: as whole numbers where that is faster."""
    if left.device.type != "cpu" or left.shape[1] == 1 or right.shape[1] == 1:  # torch 2.13 is wrong for m = 1
        return left.to(dtype).t() @ right.to(dtype)
    counts = torch._int_mm(left.t(), right)
    return counts.view(dtype).copy_(counts) if dtype == torch.float32 else counts.to(dtype)
