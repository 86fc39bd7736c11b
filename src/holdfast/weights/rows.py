"""Derivatives of a network for single rows, and the rows of single environments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.losses import Loss
from holdfast.weights.functional import Objective
from holdfast.weights.tree import Direction, WeightTree

ROWS = 32
"""Rows whose Jacobians are in memory at a time."""

OfRow = Callable[[Tensor, Direction], Direction]
"""From the loss's curvature (K, K) in a row's outputs and their Jacobian (K, …) in the parameters to some numbers."""


def by_environment(objective: Objective) -> dict[str, Objective]:
    """The objective on the rows of each environment that is known, by its name."""
    environment = objective.rows.environment
    return {
        environment.names[code]: dataclasses.replace(
            objective, rows=objective.rows.take((environment.codes == code).nonzero()[:, 0])
        )
        for code in environment.present()
    }


def per_row(objective: Objective, tree: WeightTree, of_row: OfRow) -> Iterator[tuple[Tensor, Direction]]:
    """Some numbers of each of N rows, in blocks of B: shares (B,) and what ``of_row`` gives, (B, …).

    Args:
        objective: The mean loss over N rows.
        tree: Where.
        of_row: Makes them.
    """
    rows = objective.rows
    for start in range(0, len(rows), ROWS):
        batch = rows.batch(slice(start, min(start + ROWS, len(rows))))
        x = batch.x if isinstance(batch.x, dict) else {"": batch.x}
        with sdpa_kernel(SDPBackend.MATH):  # other attention kernels keep no rows apart
            yield objective.share(batch), _of_rows(objective, tree, of_row, x, batch.labels)


def output_curvature(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    """(B, K, K) second derivatives of the loss of B rows in their outputs (B, K).

    >>> from holdfast.losses import squared_error
    >>> output_curvature(squared_error, torch.zeros(1, 1), torch.ones(1))
    tensor([[[2.]]])
    """
    return torch.func.vmap(lambda at, label: _curvature(loss, at, label))(outputs, y)


def _curvature(loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
    slope = torch.func.grad(lambda given: loss(given[None], y[None])[0])
    return torch.func.jacrev(slope)(outputs)  # type: ignore[no-any-return]


def _of_rows(objective: Objective, tree: WeightTree, of_row: OfRow, x: dict[str, Tensor], y: Tensor) -> Direction:
    def of(x: dict[str, Tensor], y: Tensor) -> Direction:
        return _of_row(objective, tree, of_row, x, y)

    try:
        return torch.func.vmap(of)(x, y)
    except RuntimeError:  # the network looks at its numbers, which torch hides while it maps over rows
        found = [of({name: values[k] for name, values in x.items()}, label) for k, label in enumerate(y)]
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def _of_row(objective: Objective, tree: WeightTree, of_row: OfRow, x: dict[str, Tensor], y: Tensor) -> Direction:
    row = {name: values[None] for name, values in x.items()}
    inputs = row[""] if set(row) == {""} else row

    def outputs(parameters: Direction) -> Tensor:
        return objective.network.outputs(tree.with_parameters(parameters), inputs)[0]

    parameters = dict(tree.parameters)
    curvature = _curvature(objective.loss, outputs(parameters), y)
    return of_row(curvature, torch.func.jacrev(outputs)(parameters))
