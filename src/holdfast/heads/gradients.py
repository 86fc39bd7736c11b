"""Gradients of each row's loss in the last layer, in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def last_layer_gradients(features: Tensor, outputs: Tensor, y: Tensor) -> Tensor:
    """(N, C·F) gradients of each row's cross-entropy in the weights of the last layer: (p − y) hᵀ, flattened.

    Args:
        features: (N, F) what goes into the layer.
        outputs: (N, C) logits, C at least 2.
        y: (N,) classes.

    >>> last_layer_gradients(torch.ones(1, 1), torch.zeros(1, 2), torch.tensor([0]))
    tensor([[-0.5000,  0.5000]])
    """
    return (_residuals(outputs, y)[:, :, None] * features[:, None, :]).flatten(1)


def projected_gradients(features: Tensor, outputs: Tensor, y: Tensor, width: int, seed: int) -> Tensor:
    """(N, width) random projections of :func:`last_layer_gradients`, which are never made as a whole.

    Coordinate k is ⟨p − y, a_k⟩⟨h, b_k⟩/√width with Gaussian a_k and b_k, so that the expected inner product of two
    rows is that of their gradients. Where the gradients are no wider than ``width``, they are given as they are.

    Args:
        features: (N, F).
        outputs: (N, C) logits, C at least 2.
        y: (N,) classes.
        width: Coordinates.
        seed: Of the projection.
    """
    classes, size = outputs.shape[1], features.shape[1]
    if classes * size <= width:
        return last_layer_gradients(features, outputs, y)
    rng = torch.Generator().manual_seed(seed)
    of_residuals, of_features = (torch.randn(n, width, generator=rng).to(features) for n in (classes, size))
    projected: Tensor = (_residuals(outputs, y) @ of_residuals) * (features @ of_features)
    return projected / math.sqrt(width)


def _residuals(outputs: Tensor, y: Tensor) -> Tensor:
    """(N, C) probabilities minus one-hot labels."""
    return outputs.softmax(dim=1) - torch.nn.functional.one_hot(y, outputs.shape[1]).to(outputs)
