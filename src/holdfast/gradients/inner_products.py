"""Inner products between the gradients of environments, of one parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.statistics import Stats


class InnerProducts(Accumulator):
    """Keeps the gradients of all E environments until they are there, E × P numbers, then their inner products.

    >>> products = InnerProducts(torch.zeros(2), environments=2)
    >>> products.add(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    >>> products.stats().gramian
    tensor([[5., 3.],
            [3., 9.]])
    """

    sums_only: ClassVar[bool] = False

    def __init__(self, like: Tensor, environments: int) -> None:
        super().__init__(like, frozenset())
        self._expected = environments
        self._blocks: list[Tensor] = []
        self._gramian: Tensor | None = None

    def add(self, block: Tensor) -> None:
        """Add (k, *shape) gradients of the next k environments."""
        self._blocks.append(self._flat(block.to(self._dtype)).clone())
        super().add(block)
        if self.environments == self._expected:
            gradients = torch.cat(self._blocks)
            self._gramian = gradients @ gradients.t()
            self._blocks.clear()

    def stats(self) -> Stats:
        """The sum and the Gramian."""
        return replace(super().stats(), gramian=self._gramian)
