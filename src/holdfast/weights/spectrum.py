"""Eigenvalues, trace and density of a curvature matrix, from products with directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.weights.directions import dot, flat, unflat
from holdfast.weights.products import Product
from holdfast.weights.tree import Direction

Array = NDArray[np.float64]


def top_eigenvalues(product: Product, like: Mapping[str, Tensor], k: int, rng: np.random.Generator) -> Array:
    """The k algebraically largest eigenvalues, by ARPACK's Lanczos iteration; all of them where there are not more.

    Args:
        product: With a symmetric matrix over P parameters.
        like: The parameters, whose shapes and types directions have.
        k: How many.
        rng: Draws the first vector.

    Returns:
        (min(k, P),) descending.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = sum(part.numel() for part in like.values())

    def times(vector: Array) -> Array:
        return _times(product, torch.from_numpy(np.ascontiguousarray(vector)).flatten(), like).numpy()

    if k + 1 >= size:
        matrix = np.stack([times(row) for row in np.eye(size)])
        return np.asarray(np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1][:k], dtype=np.float64)
    operator = LinearOperator((size, size), matvec=times, dtype=np.float64)
    values = eigsh(operator, k, which="LA", v0=rng.standard_normal(size), return_eigenvectors=False, tol=1e-6)
    return np.sort(np.asarray(values, dtype=np.float64))[::-1]


@dataclass(frozen=True)
class TraceEstimate:
    """A trace, and the standard error of its estimate.

    Attributes:
        value: The mean over draws.
        standard_error: Of that mean; 0 where every draw gives the same.
        draws: How many.
    """

    value: float
    standard_error: float
    draws: int


def trace(product: Product, like: Mapping[str, Tensor], draws: int, rng: torch.Generator) -> TraceEstimate:
    """The trace as the mean of vᵀMv over random signs v.

    M. F. Hutchinson, *A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines*,
    Communications in Statistics 1990.

    Args:
        product: With a symmetric matrix M.
        like: The parameters.
        draws: 2 or more.
        rng: Draws the signs.
    """
    values = np.array([_quadratic(product, _signs(like, rng)) for _ in range(draws)])
    return TraceEstimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(draws)), draws)


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """A distribution of eigenvalues as weighted points.

    Attributes:
        nodes: (T,) points, ascending.
        weights: (T,) their shares, which sum to 1.
    """

    nodes: Array
    weights: Array

    def smoothed(self, at: Array, width: float) -> Array:
        """(M,) the density at some points, each node being a normal distribution of this width."""
        apart = (at[:, None] - self.nodes) / width
        return np.asarray((self.weights * np.exp(-(apart**2) / 2)).sum(axis=1) / (width * np.sqrt(2 * np.pi)))


def spectral_density(
    product: Product, like: Mapping[str, Tensor], rng: torch.Generator, *, probes: int = 4, steps: int = 40
) -> SpectralDensity:
    """The distribution of eigenvalues by stochastic Lanczos quadrature with full orthogonalisation.

    B. Ghorbani, S. Krishnan, Y. Xiao, *An investigation into neural net optimization via Hessian eigenvalue density*,
    ICML 2019, arXiv:1901.10159.

    Args:
        product: With a symmetric matrix.
        like: The parameters.
        rng: Draws the probes.
        probes: Random starts that are averaged.
        steps: Lanczos steps from each.
    """
    found = [_quadrature(product, _signs(like, rng), steps) for _ in range(probes)]
    nodes = np.concatenate([nodes for nodes, _ in found])
    weights = np.concatenate([weights for _, weights in found]) / probes
    order = np.argsort(nodes)
    return SpectralDensity(nodes[order], weights[order])


def _quadrature(product: Product, start: Direction, steps: int) -> tuple[Array, Array]:
    """Nodes and weights of the Gauss quadrature that the tridiagonal matrix of Lanczos' iteration stands for."""
    from scipy.linalg import eigh_tridiagonal

    vector = flat(start).double()
    basis = [vector / vector.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    scale = 0.0
    for _ in range(min(steps, len(vector))):
        image = _times(product, basis[-1], start)
        diagonal.append(float(image @ basis[-1]))
        scale = max(scale, float(image.norm()))
        for _ in range(2):  # twice is enough
            for known in basis:
                image = image - (image @ known) * known
        length = float(image.norm())
        if length <= 1e-7 * scale:
            break
        beside.append(length)
        basis.append(image / length)
    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside[: len(diagonal) - 1]))
    return np.asarray(values), np.asarray(vectors[0] ** 2)


def _times(product: Product, vector: Tensor, like: Mapping[str, Tensor]) -> Tensor:
    """The product with a flat vector (P,) in double precision, made in the precision of the parameters."""
    direction = {name: part.to(like[name].dtype) for name, part in unflat(vector, like).items()}
    return flat(product(direction)).double()


def _quadratic(product: Product, direction: Direction) -> float:
    return float(dot(direction, product(direction)))


def _signs(like: Mapping[str, Tensor], rng: torch.Generator) -> Direction:
    return {name: (2 * torch.randint(2, part.shape, generator=rng) - 1).to(part.dtype) for name, part in like.items()}
