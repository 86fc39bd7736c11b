"""How hard a row is to one model compared with another: what tells the rows against which a shortcut speaks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.per_example import PerExample


class LossMemory(nn.Module):
    """A moving average of each row's loss, as a share of the largest within the row's class.

    A row's first loss is taken as it is; after that the average is α · average + (1 − α) · loss. The largest is over
    all rows of the class seen so far. Nam, Cha, Ahn, Lee, Shin, *Learning from failure*, NeurIPS 2020,
    arXiv:2007.02561.

    Args:
        index: (N,) ids of all rows that may come.
        labels: (N,) int64 classes of these.
        memory: α in [0, 1).

    >>> memory = LossMemory(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    >>> memory.update(torch.tensor([0, 1]), torch.tensor([1.0, 4.0]))
    >>> memory.shares(torch.tensor([0, 1]))
    tensor([0.2500, 1.0000])
    """

    labels: Tensor

    def __init__(self, index: Tensor, labels: Tensor, memory: float = 0.7) -> None:
        super().__init__()
        rows = int(index.max()) + 1
        label_of = torch.zeros(rows, dtype=torch.int64)
        label_of[index.cpu()] = labels.cpu()
        self.memory, self._classes = memory, int(labels.max()) + 1
        self.averages = PerExample(rows, initial=torch.nan)
        self.register_buffer("labels", label_of)

    def update(self, index: Tensor, losses: Tensor) -> None:
        """Take in the (B,) losses of these rows, without gradient."""
        past, losses = self.averages.read(index), losses.detach().to(self.averages.values)
        self.averages.write(index, torch.where(past.isnan(), losses, self.memory * past + (1 - self.memory) * losses))

    def shares(self, index: Tensor) -> Tensor:
        """(B,) averages in [0, 1], of the largest in each row's class; NaN for rows never seen."""
        seen = self.averages.values.nan_to_num(0.0)
        largest = seen.new_zeros(self._classes).scatter_reduce(0, self.labels, seen, "amax")
        return self.averages.read(index) / largest[self.labels[index]].clamp_min(torch.finfo(seen.dtype).tiny)


def relative_difficulty(biased: Tensor, other: Tensor) -> Tensor:
    """Loss of the biased model over the sum of both, in [0, 1]; ½ where both are 0.

    Near 1 where the biased model fails and the other does not.

    Args:
        biased: (B,) losses of the biased model, not negative.
        other: (B,) losses of the other.
    """
    tiny = torch.finfo(biased.dtype).tiny
    return (biased + tiny) / (biased + other + 2 * tiny)
