"""A network as a function of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from holdfast.core.data import Batch, Dataset
from holdfast.core.predictors import blocks
from holdfast.losses import Loss
from holdfast.weights.tree import Direction, WeightTree

Evaluate = Callable[[WeightTree], float]
"""From weights to a number, such as a loss."""


@dataclass(frozen=True, eq=False)
class Functional:
    """What a network says with any weights; its own are not touched, and it is in evaluation mode.

    Attributes:
        module: The architecture.

    >>> net = Functional.of(nn.Linear(2, 1))
    >>> tree = WeightTree({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, {}, {})
    >>> net.outputs(tree, torch.tensor([[1.0, 2.0]]))
    tensor([[3.]])
    """

    module: nn.Module

    @staticmethod
    def of(module: nn.Module) -> Functional:
        """Of a copy of a network."""
        own = copy.deepcopy(module).eval()
        for parameter in own.parameters():
            parameter.requires_grad_(False)
        return Functional(own)

    def outputs(self, tree: WeightTree, x: Any) -> Tensor:
        """(B, K) outputs of inputs (B, …); differentiable in the tree's parameters."""
        return functional_call(self.module, tree.tensors, (x,))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Objective:
    """The mean loss of a network on some rows, weighted as they are.

    Attributes:
        network: Says what it says.
        rows: N of them, with labels.
        loss: Per example.
    """

    network: Functional
    rows: Dataset
    loss: Loss

    def __call__(self, tree: WeightTree) -> float:
        """The mean loss, in double precision."""
        with torch.no_grad():
            return float(sum(self.part(tree.parameters, tree, batch).double() for batch in self.batches()))

    def gradient(self, tree: WeightTree) -> Direction:
        """The gradient in all parameters."""
        total: Direction = {name: torch.zeros_like(w) for name, w in tree.parameters.items()}
        for batch in self.batches():
            gradients = torch.func.grad(lambda p, batch=batch: self.part(p, tree, batch))(dict(tree.parameters))
            for name, gradient in gradients.items():
                total[name] += gradient
        return total

    def part(self, parameters: Mapping[str, Tensor], tree: WeightTree, batch: Batch) -> Tensor:
        """What a batch adds to the mean loss, as a function of the parameters."""
        return self.of_outputs(self.network.outputs(tree.with_parameters(parameters), batch.x), batch)

    def of_outputs(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The same as a function of the outputs (B, K)."""
        losses = self.loss(outputs, batch.labels)
        return (self.share(batch).to(losses) * losses).sum()

    def batches(self) -> Iterator[Batch]:
        """The rows in blocks."""
        return (self.rows.batch(block) for block in blocks(self.rows))

    def share(self, batch: Batch) -> Tensor:
        """(B,) how much each row of a batch counts; over all rows these sum to 1."""
        if self.rows.weight is None or batch.weight is None:
            return torch.full((len(batch),), 1 / len(self.rows), dtype=torch.float64)
        return batch.weight.double() / self.rows.weight.double().sum()
