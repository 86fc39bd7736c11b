"""Drawing a row anew with another label: which image shows that label with the row's own nuisance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def cells(codes: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows by cell: those of cell k stand at the places from ``starts[k]`` on, ``counts[k]`` of them.

    Args:
        codes: (N,) int64 in [0, number).
        number: Of cells, K.

    Returns:
        ``order`` (N,) positions of rows, ``counts`` (K,) and ``starts`` (K,).
    """
    counts = torch.bincount(codes, minlength=number)
    return torch.argsort(codes, stable=True), counts, counts.cumsum(0) - counts


def image_chooser(labels: Tensor, parts: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Which image shows a label with the nuisance of a row: the one of equal rank among that label's in its split.

    Args:
        labels: (N,) int64 classes of the images; every part has some of each.
        parts: (N,) int64 splits of the images, which are not mixed.

    Returns:
        ``(label, rows) -> images``: (M,) classes and positions to positions; a row's own label gives its own image.

    >>> choose = image_chooser(torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]))
    >>> choose(torch.tensor([1, 1]), torch.tensor([0, 3])).tolist()
    [1, 3]
    """
    classes = int(labels.max()) + 1
    cell = parts * classes + labels
    order, counts, starts = cells(cell, classes * (int(parts.max()) + 1))
    rank = torch.empty_like(cell)
    rank[order] = torch.arange(len(cell)) - starts[cell[order]]

    def choose(label: Tensor, rows: Tensor) -> Tensor:
        wanted = parts[rows] * classes + label
        return order[starts[wanted] + rank[rows] % counts[wanted]]

    return choose
