"""Products of curvature matrices with directions, without the matrices.

B. A. Pearlmutter, *Fast exact multiplication by the Hessian*, Neural Computation 1994; N. N. Schraudolph, *Fast
curvature matrix-vector products for second-order gradient descent*, Neural Computation 2002.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from holdfast.core.data import Batch
from holdfast.weights.functional import Objective
from holdfast.weights.tree import Direction, WeightTree

Product = Callable[[Direction], Direction]
"""From a direction v to M·v for some symmetric matrix M over all parameters."""


@dataclass(frozen=True, eq=False)
class HessianProduct:
    """H·v, where H is the Hessian of an objective at some weights.

    Attributes:
        objective: The mean loss, in evaluation mode.
        tree: Where.
    """

    objective: Objective
    tree: WeightTree

    def __call__(self, direction: Direction) -> Direction:
        """As large as the direction, which names every parameter."""
        return _sum_over_batches(self.objective, lambda batch: self._of(batch, direction))

    def _of(self, batch: Batch, direction: Direction) -> Direction:
        gradient = torch.func.grad(lambda parameters: self.objective.part(parameters, self.tree, batch))
        return _along(gradient, dict(self.tree.parameters), direction)[1]  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class GaussNewtonProduct:
    """G·v for the generalised Gauss–Newton matrix G = Σ share·Jᵀ H_out J: the Hessian of a network made linear.

    It is positive semidefinite for convex losses, and for cross-entropy it is the Fisher information.

    Attributes:
        objective: The mean loss, in evaluation mode.
        tree: Where.
    """

    objective: Objective
    tree: WeightTree

    def __call__(self, direction: Direction) -> Direction:
        """As large as the direction, which names every parameter."""
        return _sum_over_batches(self.objective, lambda batch: self._of(batch, direction))

    def _of(self, batch: Batch, direction: Direction) -> Direction:
        network, tree = self.objective.network, self.tree

        def outputs(parameters: Direction) -> Tensor:
            return network.outputs(tree.with_parameters(parameters), batch.x)

        def mean_loss(given: Tensor) -> Tensor:
            return self.objective.of_outputs(given, batch)

        at, pushed = _along(outputs, dict(tree.parameters), direction)
        _, curved = _along(torch.func.grad(mean_loss), at, pushed)
        pull: Any = torch.func.vjp(outputs, dict(tree.parameters))[1]
        return pull(curved)[0]  # type: ignore[no-any-return]


def _along(function: Callable[..., Any], at: Any, direction: Any) -> tuple[Any, Any]:
    """A function's value and its derivative along a direction."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # other attention kernels have no such derivative
        warnings.simplefilter("ignore", DeprecationWarning)  # torch loads its rules for this with its own old compiler
        value, derivative, *_ = torch.func.jvp(function, (at,), (direction,))
    return value, derivative


def _sum_over_batches(objective: Objective, of: Callable[[Batch], Direction]) -> Direction:
    total: Direction = {}
    for batch in objective.batches():
        for name, part in of(batch).items():
            total[name] = total[name] + part if name in total else part
    return total
