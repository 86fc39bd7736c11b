"""Which rows to ask labels for when several models contradict each other, and which model the answers speak for."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from holdfast.losses.diversity import dispute


def most_disputed(outputs: Tensor, count: int) -> Tensor:
    """The rows on which models contradict each other most.

    Args:
        outputs: (M, N, C) logits of M models.
        count: How many; all where there are fewer.

    Returns:
        (min(count, N),) int64 positions, the most disputed first; of equals the first.

    >>> import torch
    >>> most_disputed(torch.tensor([[[9.0, 0.0], [9.0, 0.0]], [[9.0, 0.0], [0.0, 9.0]]]), 1)
    tensor([1])
    """
    return dispute(outputs.softmax(-1)).argsort(descending=True, stable=True)[:count]


def best_of(outputs: Tensor, labels: Tensor) -> int:
    """The model that is right most often; of equals the one whose cross-entropy is less, then the first.

    Args:
        outputs: (M, N, C) logits of M models.
        labels: (N,) classes.
    """

    def merit(model: int) -> tuple[float, float]:
        right = (outputs[model].argmax(1) == labels).double().mean()
        return float(right), -float(F.cross_entropy(outputs[model].double(), labels))

    return max(range(len(outputs)), key=merit)
