"""How hard a row is to one model compared with another: what tells the rows against which a shortcut speaks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.per_example import PerExample


class LossMemory(nn.Module):
    """A moving average of each row's loss, as a share of the largest within the row's class.

    A row's first loss is taken as it is; after that the average is α · average + (1 − α) · loss. The largest is over
    all rows of the class seen so far. One outlier, such as a wrong label, makes all shares of its class small: a
    quantile in place of the largest does not heed it. Nam, Cha, Ahn, Lee, Shin, *Learning from failure*, NeurIPS 2020,
    arXiv:2007.02561.

    Args:
        index: (N,) ids of all rows that may come.
        labels: (N,) int64 classes of these.
        memory: α in [0, 1).
        quantile: Of the averages within a class, in (0, 1], that takes the largest's place; larger ones have share 1.

    >>> memory = LossMemory(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    >>> memory.update(torch.tensor([0, 1]), torch.tensor([1.0, 4.0]))
    >>> memory.shares(torch.tensor([0, 1]))
    tensor([0.2500, 1.0000])
    """

    labels: Tensor

    def __init__(self, index: Tensor, labels: Tensor, memory: float = 0.7, quantile: float = 1.0) -> None:
        super().__init__()
        rows = int(index.max()) + 1
        label_of = torch.zeros(rows, dtype=torch.int64)
        label_of[index.cpu()] = labels.cpu()
        self.memory, self.quantile, self._classes = memory, quantile, int(labels.max()) + 1
        self.averages = PerExample(rows, initial=torch.nan)
        self.register_buffer("labels", label_of)

    def update(self, index: Tensor, losses: Tensor) -> None:
        """Take in the (B,) losses of these rows, without gradient."""
        past, losses = self.averages.read(index), losses.detach().to(self.averages.values)
        self.averages.write(index, torch.where(past.isnan(), losses, self.memory * past + (1 - self.memory) * losses))

    def shares(self, index: Tensor) -> Tensor:
        """(B,) averages in [0, 1], of the largest in each row's class; NaN for rows never seen."""
        largest = self._largest() if self.quantile == 1 else self._quantiles()
        shares = self.averages.read(index) / largest[self.labels[index]].clamp_min(torch.finfo(largest.dtype).tiny)
        return shares.clamp_max(1.0)

    def _largest(self) -> Tensor:
        seen = self.averages.values.nan_to_num(0.0)
        return seen.new_zeros(self._classes).scatter_reduce(0, self.labels, seen, "amax")

    def _quantiles(self) -> Tensor:
        averages = self.averages.values
        of_classes = [averages[self.labels == code].nanquantile(self.quantile) for code in range(self._classes)]
        return torch.stack(of_classes).nan_to_num(0.0)


def relative_difficulty(biased: Tensor, other: Tensor) -> Tensor:
    """Loss of the biased model over the sum of both, in [0, 1]; ½ where both are 0.

    Near 1 where the biased model fails and the other does not.

    Args:
        biased: (B,) losses of the biased model, not negative.
        other: (B,) losses of the other.
    """
    tiny = torch.finfo(biased.dtype).tiny
    return (biased + tiny) / (biased + other + 2 * tiny)
