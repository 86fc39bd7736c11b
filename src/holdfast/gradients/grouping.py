"""Rows by environment: the order and the chunks in which per-environment gradients are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chunk:
    """Whole environments, padded to the length of the longest.

    Attributes:
        sizes: Rows of each of the k environments.
        rows: (k · n,) row of each cell, padding included; a slice where no row need be moved.
        padding: (k, n) True where a cell holds no row of its environment; None where there is no such cell.
    """

    sizes: tuple[int, ...]
    rows: Tensor | slice
    padding: Tensor | None

    def take(self, rows: Tensor) -> Tensor:
        """(B, …) to (k, n, …); padding repeats some other row."""
        return rows[self.rows].reshape(len(self.sizes), max(self.sizes), *rows.shape[1:])

    def take_gradients(self, rows: Tensor) -> Tensor:
        """(B, …) to (k, n, …); padding is zero, so that it adds nothing to a gradient."""
        taken = self.take(rows)
        if self.padding is None:
            return taken
        return taken.masked_fill(self.padding.view(self.padding.shape + (1,) * (taken.ndim - 2)), 0)


@dataclass(frozen=True)
class Grouping:
    """The environments of a batch.

    Attributes:
        environment: (B,) which environment each row belongs to, counted from 0 in ascending order of the labels.
        order: (B,) rows, environment after environment, largest first; None where they stand so already.
        sizes: Rows of each of the E environments, largest first.
    """

    environment: Tensor
    order: Tensor | None
    sizes: tuple[int, ...]

    @staticmethod
    def of(groups: Tensor) -> Grouping:
        """Group (B,) integer labels of any size, order and gaps.

        >>> Grouping.of(torch.tensor([7, 2, 7])).sizes
        (2, 1)
        """
        if bool((groups[1:] >= groups[:-1]).all()):  # nothing need be sorted
            _, environment, counts = torch.unique_consecutive(groups, return_inverse=True, return_counts=True)
            sizes = tuple(counts.tolist())
            if len(set(sizes)) == 1:
                return Grouping(environment, None, sizes)
        else:
            _, environment, counts = torch.unique(groups, return_inverse=True, return_counts=True)
        largest_first = torch.argsort(counts, descending=True, stable=True)
        order = torch.argsort(torch.argsort(largest_first)[environment], stable=True)
        in_order = bool((order[1:] > order[:-1]).all())
        return Grouping(environment, None if in_order else order, tuple(counts[largest_first].tolist()))

    @staticmethod
    def per_example(rows: Tensor) -> Grouping:
        """Every row its own environment, from (B,) ascending numbers."""
        return Grouping(rows, None, (1,) * len(rows))

    @property
    def is_per_example(self) -> bool:
        """Whether no environment has two rows."""
        return len(self.sizes) > 0 and self.sizes[0] == 1

    def largest_first(self) -> list[int]:
        """The environments in the order of :attr:`sizes`, by their place among the ascending labels."""
        counts = torch.bincount(self.environment, minlength=len(self.sizes))
        places: list[int] = torch.argsort(counts, descending=True, stable=True).tolist()
        return places

    def coefficients(self, row_weights: Tensor | None, environment_weights: Tensor | None, like: Tensor) -> Tensor:
        """(B,) factor of each row's loss in Σ_e w_e L_e, with L_e the weighted mean over the rows of e.

        In at least float32, in which rows can be counted.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        count = len(self.sizes)
        ones = torch.ones_like(like, dtype=dtype)
        weights = ones if row_weights is None else row_weights.to(ones)
        totals = torch.zeros(count, dtype=dtype, device=like.device).index_add(0, self.environment, weights)
        shares = weights / totals.clamp_min(torch.finfo(dtype).tiny)[self.environment]
        if environment_weights is None:
            return shares / count
        return shares * environment_weights.to(ones)[self.environment]

    def chunks(self, environments: int) -> Iterator[Chunk]:
        """Chunks of at most that many environments; sizes within one differ by less than a factor of two."""
        start = first = 0
        while first < len(self.sizes):
            last = first + 1
            while last < min(first + environments, len(self.sizes)) and 2 * self.sizes[last] > self.sizes[first]:
                last += 1
            sizes = self.sizes[first:last]
            yield self._chunk(start, sizes)
            start, first = start + sum(sizes), last

    def _chunk(self, start: int, sizes: tuple[int, ...]) -> Chunk:
        stop = start + sum(sizes)
        if sizes[0] == sizes[-1]:
            return Chunk(sizes, slice(start, stop) if self.order is None else self.order[start:stop], None)
        lengths = torch.tensor(sizes)
        starts = start + lengths.cumsum(0) - lengths
        cell = torch.arange(sizes[0])
        padding = cell >= lengths[:, None]
        rows = (starts[:, None] + cell).masked_fill(padding, start).flatten()
        if self.order is not None:
            rows, padding = self.order[rows.to(self.order.device)], padding.to(self.order.device)
        return Chunk(sizes, rows, padding)
