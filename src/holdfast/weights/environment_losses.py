"""The losses of all environments as one function of a network's weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.data import Batch
from holdfast.weights.directions import flat, unflat
from holdfast.weights.functional import Objective
from holdfast.weights.tree import WeightTree


@dataclass(frozen=True, eq=False)
class LossesByEnvironment:
    """The mean loss of each environment as a function of flat weights, from one pass over all rows.

    Attributes:
        objective: The network, the rows and the loss per example; rows of unknown environment do not count.
        tree: Weights whose names and shapes flat ones have, and whose buffers are kept.
    """

    objective: Objective
    tree: WeightTree

    @property
    def names(self) -> tuple[str, ...]:
        """The E environments that occur, in the order of the losses."""
        environment = self.objective.rows.environment
        return tuple(environment.names[code] for code in environment.present())

    @property
    def start(self) -> Tensor:
        """(P,) the weights of the tree."""
        return flat(self.tree.parameters)

    def __call__(self, weights: Tensor) -> Tensor:
        """From weights (P,) to losses (E,), differentiable."""
        tree = self.tree.with_parameters(unflat(weights, self.tree.parameters))
        totals = sum((self._of(tree, batch) for batch in self.objective.batches()), torch.zeros(2, 1))
        return totals[0] / totals[1]

    def _of(self, tree: WeightTree, batch: Batch) -> Tensor:
        """(2, E) what a batch adds to the weighted sums of losses, and to the sums of weights."""
        losses = self.objective.loss(self.objective.network.outputs(tree, batch.x), batch.labels)
        codes = torch.tensor(self.objective.rows.environment.present())
        belongs = (batch.environment[:, None] == codes).to(losses)
        return torch.stack([losses, torch.ones_like(losses)]) @ (
            self.objective.share(batch).to(losses)[:, None] * belongs
        )
