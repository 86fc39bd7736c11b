"""The diagonal of the Gauss–Newton matrix, for each environment."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.weights.functional import Objective
from holdfast.weights.tree import Direction, WeightTree

ROWS = 32
"""Rows whose Jacobians are in memory at a time."""


def diagonal_gauss_newton(objective: Objective, tree: WeightTree) -> Direction:
    """The diagonal of G = Σ share·Jᵀ H_out J, exactly; for cross-entropy this is the Fisher information's.

    Args:
        objective: The mean loss over N rows.
        tree: Where.

    Returns:
        One number for each parameter.
    """
    total: Direction = {name: torch.zeros_like(w) for name, w in tree.parameters.items()}
    rows = objective.rows
    for start in range(0, len(rows), ROWS):
        batch = rows.batch(slice(start, min(start + ROWS, len(rows))))
        x = batch.x if isinstance(batch.x, dict) else {"": batch.x}
        with sdpa_kernel(SDPBackend.MATH):  # other attention kernels keep no rows apart
            diagonal = _of_rows(objective, tree, x, batch.labels)
        share = objective.share(batch)
        for name, part in diagonal.items():
            total[name] += torch.tensordot(share.to(part), part, dims=1)
    return total


def diagonal_by_environment(objective: Objective, tree: WeightTree) -> dict[str, Direction]:
    """The diagonal for the rows of each environment that is known, by its name."""
    environment = objective.rows.environment
    return {
        environment.names[code]: diagonal_gauss_newton(
            dataclasses.replace(objective, rows=objective.rows.take((environment.codes == code).nonzero()[:, 0])), tree
        )
        for code in environment.present()
    }


def _of_rows(objective: Objective, tree: WeightTree, x: dict[str, Tensor], y: Tensor) -> Direction:
    """diag(Jᵀ H_out J) of each of B rows, (B, …)."""
    try:
        return torch.func.vmap(lambda x, y: _of_row(objective, tree, x, y))(x, y)
    except RuntimeError:  # the network looks at its numbers, which torch hides while it maps over rows
        rows = [{name: values[k] for name, values in x.items()} for k in range(len(y))]
        found = [_of_row(objective, tree, row, label) for row, label in zip(rows, y, strict=True)]
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def _of_row(objective: Objective, tree: WeightTree, x: dict[str, Tensor], y: Tensor) -> Direction:
    """diag(Jᵀ H_out J) of one row."""
    row = {name: values[None] for name, values in x.items()}
    inputs = row[""] if set(row) == {""} else row

    def outputs(parameters: Direction) -> Tensor:
        return objective.network.outputs(tree.with_parameters(parameters), inputs)[0]

    parameters = dict(tree.parameters)
    at = outputs(parameters)
    slope = torch.func.grad(lambda given: objective.loss(given[None], y[None])[0])
    curvature = torch.func.jacrev(slope)(at)
    jacobian = torch.func.jacrev(outputs)(parameters)
    return {name: (torch.tensordot(curvature, part, dims=1) * part).sum(0) for name, part in jacobian.items()}
