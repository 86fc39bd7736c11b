"""What one call of the engine was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.grouping import Grouping
from holdfast.gradients.passes import pass_per_environment
from holdfast.gradients.statistics import Stat, Stats


@dataclass(frozen=True)
class Request:
    """Losses and what to make of them.

    Attributes:
        losses: (B,) per-example losses with a graph.
        coefficients: (B,) their factors in the objective, ``scale`` included.
        grouping: The environments.
        needs: Statistics asked for.
        scale: Factor that the objective holds and the statistics shall not.
        retain_graph: Whether the graph is to outlive the request.
        accumulator: Makes what takes the gradients of a parameter.
    """

    losses: Tensor
    coefficients: Tensor
    grouping: Grouping
    needs: frozenset[Stat]
    scale: float
    retain_graph: bool
    accumulator: Callable[[Tensor], Accumulator]

    @cached_property
    def contributions(self) -> Tensor:
        """(B,) terms of the objective."""
        return self.losses * self.coefficients

    @cached_property
    def objective(self) -> Tensor:
        """Scalar, scale · Σ_e w_e L_e."""
        return self.contributions.sum()

    def unscaled(self, gradient: Tensor) -> Tensor:
        """A gradient of the objective, in at least float32 and free of the scale."""
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        return gradient if self.scale == 1.0 else gradient / self.scale

    def passes(self, parameters: Sequence[Tensor]) -> dict[Tensor, Stats]:
        """Statistics by one backward pass per environment."""
        return pass_per_environment(
            self.contributions,
            self.grouping,
            parameters,
            self.accumulator,
            scale=self.scale,
            retain_graph=self.retain_graph,
        )

    def nothing(self, parameter: Tensor) -> Stats:
        """The statistics of a parameter that the losses do not depend on."""
        return replace(Stats.of(torch.zeros_like(parameter), self.needs), environments=len(self.grouping.sizes))
