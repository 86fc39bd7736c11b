"""Vectors in weight space: products, norms, and random ones that suit the filters of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from holdfast.weights.tree import Direction

Normalization = Literal["filter", "layer", "none"]
_TINY = 1e-10


def dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    """Inner product, a scalar in double precision.

    >>> dot({"w": torch.ones(2, 2)}, {"w": 2 * torch.ones(2, 2)})
    tensor(8., dtype=torch.float64)
    """
    return torch.stack([(one[name].double() * other[name].double()).sum() for name in one]).sum()


def norm(direction: Mapping[str, Tensor]) -> Tensor:
    """Euclidean length, a scalar in double precision."""
    return dot(direction, direction).sqrt()


def flat(direction: Mapping[str, Tensor]) -> Tensor:
    """(P,) all entries in order."""
    return torch.cat([part.reshape(-1) for part in direction.values()])


def unflat(vector: Tensor, like: Mapping[str, Tensor]) -> Direction:
    """The direction whose :func:`flat` is this (P,), with the names and shapes of ``like``."""
    parts = torch.split(vector, [part.numel() for part in like.values()])
    return {name: part.reshape(like[name].shape) for name, part in zip(like, parts, strict=True)}


def filter_norms(tensor: Tensor) -> Tensor:
    """The Euclidean norm of each filter of a weight (O, …): of everything that makes one output. (O,) of it."""
    norms: Tensor = torch.linalg.vector_norm(tensor.reshape(len(tensor), -1), dim=1)
    return norms


def random_direction(
    weights: Mapping[str, Tensor], rng: torch.Generator, normalization: Normalization = "filter"
) -> Direction:
    """Gaussian noise in the parameters of two dimensions and more; biases and norm layers get zeros.

    With filters normalised, each has the length of the network's own, so that a network that is rescaled without a
    change of its function has the same landscape along the direction.

    H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, *Visualizing the loss landscape of neural nets*, NeurIPS 2018,
    arXiv:1712.09913.

    Args:
        weights: The parameters around which to look.
        rng: The random stream.
        normalization: ``filter``, ``layer`` (each tensor has its weights' length), or ``none``.

    >>> noise = random_direction({"w": torch.tensor([[3.0, 4.0], [0.0, 1.0]])}, torch.Generator().manual_seed(0))
    >>> filter_norms(noise["w"])
    tensor([5., 1.])
    """
    return {name: _noise(w, rng, normalization) if w.ndim > 1 else torch.zeros_like(w) for name, w in weights.items()}


def _noise(weight: Tensor, rng: torch.Generator, normalization: Normalization) -> Tensor:
    noise = torch.randn(weight.shape, generator=rng, dtype=torch.float64).to(weight)
    if normalization == "filter":
        factor = filter_norms(weight) / (filter_norms(noise) + _TINY)
        return noise * factor.reshape(-1, *[1] * (weight.ndim - 1))
    return noise * (weight.norm() / (noise.norm() + _TINY)) if normalization == "layer" else noise
