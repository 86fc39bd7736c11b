"""The diagonal of the Gauss–Newton matrix, for each environment, and the whole matrix of small networks."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.weights.functional import Objective
from holdfast.weights.rows import by_environment, per_row
from holdfast.weights.tree import Direction, WeightTree


def diagonal_gauss_newton(objective: Objective, tree: WeightTree) -> Direction:
    """The diagonal of G = Σ share·Jᵀ H_out J, exactly; for cross-entropy this is the Fisher information's.

    Args:
        objective: The mean loss over N rows.
        tree: Where.

    Returns:
        One number for each parameter.
    """
    total: Direction = {name: torch.zeros_like(w) for name, w in tree.parameters.items()}
    for share, diagonal in per_row(objective, tree, _diagonal):
        for name, part in diagonal.items():
            total[name] += torch.tensordot(share.to(part), part, dims=1)
    return total


def diagonal_by_environment(objective: Objective, tree: WeightTree) -> dict[str, Direction]:
    """The diagonal for the rows of each environment that is known, by its name."""
    return {name: diagonal_gauss_newton(part, tree) for name, part in by_environment(objective).items()}


def gauss_newton_matrix(objective: Objective, tree: WeightTree) -> Tensor:
    """G = Σ share·Jᵀ H_out J as a dense matrix (P, P), for networks of at most some thousand weights.

    Args:
        objective: The mean loss over N rows.
        tree: Where.

    Returns:
        Symmetric, and positive semidefinite where the loss is convex in the outputs; parameters are in the order of
        :func:`~holdfast.weights.flat`.
    """
    size = sum(w.numel() for w in tree.parameters.values())
    total = torch.zeros(size, size, dtype=next(iter(tree.parameters.values())).dtype)
    for share, parts in per_row(objective, tree, _flat_jacobian):
        jacobian, curvature = parts["jacobian"], parts["curvature"]
        bent = share.to(jacobian)[:, None, None] * (curvature @ jacobian)
        total += jacobian.flatten(0, 1).T @ bent.flatten(0, 1)
    return (total + total.T) / 2


def _diagonal(curvature: Tensor, jacobian: Direction) -> Direction:
    return {name: (torch.tensordot(curvature, part, dims=1) * part).sum(0) for name, part in jacobian.items()}


def _flat_jacobian(curvature: Tensor, jacobian: Direction) -> Direction:
    flat = torch.cat([part.flatten(1) for part in jacobian.values()], dim=1)
    return {"curvature": curvature, "jacobian": flat}
