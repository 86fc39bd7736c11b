"""Which rows a classifier gets wrong."""

from __future__ import annotations

from torch import Tensor


def error_set(outputs: Tensor, y: Tensor) -> Tensor:
    """(B,) bool: true where the most likely class is not the label.

    Args:
        outputs: (B, C) logits, or (B, 1) for two classes.
        y: (B,) classes.

    >>> import torch
    >>> error_set(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    tensor([False,  True])
    """
    said = (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(dim=1)
    return said != y
