"""State by row."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PerExample(nn.Module):
    """One number per row id, kept in checkpoints: the only place for state by row.

    Args:
        n_rows: One more than the largest row id.
        initial: The value of rows never written.

    >>> memory = PerExample(3)
    >>> memory.write(torch.tensor([2]), torch.tensor([0.5]))
    >>> memory.read(torch.tensor([2, 0]))
    tensor([0.5000, 0.0000])
    """

    values: Tensor

    def __init__(self, n_rows: int, initial: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("values", torch.full((n_rows,), initial))

    def read(self, index: Tensor) -> Tensor:
        """(B,) values of these row ids."""
        return self.values[index]

    def write(self, index: Tensor, values: Tensor) -> None:
        """Set the values of these row ids, without gradient."""
        self.values[index] = values.detach().to(self.values.dtype)
