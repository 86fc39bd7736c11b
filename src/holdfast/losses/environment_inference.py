"""Two environments in which a model would like to rescale its outputs as differently as possible."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.losses.per_example import cross_entropy


def scale_slopes(outputs: Tensor, y: Tensor) -> Tensor:
    """(B,) derivatives of each row's cross-entropy in a factor of its outputs, at 1.

    Negative where the model is right and could be surer; positive where it would rather be less sure.

    Args:
        outputs: (B, C) logits, or (B, 1) for two classes.
        y: (B,) classes.
    """
    with torch.enable_grad():
        fixed = outputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(fixed, y).sum(), fixed)
    return (gradient * fixed.detach()).flatten(1).sum(dim=1)


def inferred_environments(outputs: Tensor, y: Tensor) -> Tensor:
    """(B,) 0 or 1: the two environments that make the IRM penalty of a fixed model largest.

    Creager, Jacobsen, Zemel, *Environment inference for invariant learning*, ICML 2021, arXiv:2010.07249, maximise
    ½ Σ_e ‖mean_i q_e(i) d_i‖² over soft assignments q by gradient ascent, where d_i are the :func:`scale_slopes` and
    means are over all rows. With a fixed model this is convex in Σ q d, so that the maximum is at an end: one
    environment holds the rows of positive slope, the other all others. No ascent is needed.

    Where the model reads a shortcut, environment 1 holds the rows that the shortcut gets wrong.

    >>> inferred_environments(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    tensor([0, 1])
    """
    return (scale_slopes(outputs, y) > 0).long()
