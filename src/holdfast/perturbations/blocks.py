"""Blocks of coordinates in a rotated basis: rows exchange a block and keep the rest."""

from __future__ import annotations

from torch import Tensor


def block_exchanged(x: Tensor, donors: Tensor, basis: Tensor) -> Tensor:
    """The rows, each with the block of its donor: all coordinates of the block together, all others kept.

    The exchange of Shah, Tamuly, Raghunathan, Jain, Netrapalli, *The pitfalls of simplicity bias in neural networks*,
    NeurIPS 2020, arXiv:2006.07710: a model's score after it says what the model draws from all other coordinates.

    Args:
        x: (N, d) rows.
        donors: (N,) positions of rows.
        basis: (m, d) orthonormal directions that span the block.

    Returns:
        (N, d).

    >>> import torch
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> block_exchanged(x, torch.tensor([1, 0]), torch.tensor([[0.0, 1.0]])).tolist()
    [[1.0, 4.0], [3.0, 2.0]]
    """
    return x + (x[donors] - x) @ basis.T @ basis
