"""Sums over environments of one parameter, fed block by block."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.gradients.statistics import Stat, Stats


class Accumulator:
    """Streams the gradients of environments into :class:`Stats`; memory is that of the sums, whatever E is.

    >>> sums = Accumulator(frozenset({Stat.SIGN}))
    >>> sums.add(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    >>> sums.stats().sign
    tensor([ 2., -1.])
    """

    def __init__(self, needs: frozenset[Stat]) -> None:
        self._needs = needs
        self._environments = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, block: Tensor) -> None:
        """Add (k, *shape) gradients of k whole environments; the block is overwritten."""
        self._environments += len(block)
        self._add("sum", block.sum(0))
        if Stat.SQUARE in self._needs:
            self._add("square", block.square().sum(0))
        if Stat.LOG in self._needs:
            nonzero = block != 0
            self._add("log", block.abs().log_().masked_fill_(~nonzero, 0).sum(0))
            self._add("nonzero", nonzero.sum(0, dtype=torch.int32))
        if Stat.SIGN in self._needs:
            self._add("sign", block.sign_().sum(0))

    def stats(self) -> Stats:
        """What was summed; signs as floats, which hold whole numbers below 2²⁴ exactly."""
        return Stats(environments=self._environments, **self._sums)

    def _add(self, name: str, value: Tensor) -> None:
        if name in self._sums:
            self._sums[name] += value
        else:
            self._sums[name] = value
