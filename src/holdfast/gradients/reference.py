"""The slow engine: one backward pass per environment, obviously right."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from holdfast.gradients.aggregators import Aggregated, Aggregator, Mean, State
from holdfast.gradients.checks import check_losses, check_some, check_weights
from holdfast.gradients.statistics import Stat, Stats
from holdfast.losses.environments import environment_means


class ReferenceEngine:
    """Gradients per environment by a loop of ``torch.autograd.grad``, combined by an aggregator.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> losses = model(torch.eye(2)).square().squeeze(1)
    >>> _ = ReferenceEngine(model).backward(losses, groups=torch.tensor([0, 1]))
    >>> torch.allclose(model.weight.grad, model.weight.detach())
    True
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def backward(
        self,
        losses: Tensor,
        groups: Tensor,
        *,
        aggregator: Aggregator | None = None,
        row_weights: Tensor | None = None,
        environment_weights: Tensor | None = None,
        state: State | None = None,
        retain_graph: bool = False,
    ) -> Aggregated:
        """Add the aggregated gradient to ``.grad`` of every parameter that requires one.

        Args:
            losses: (B,) per-example losses with a graph.
            groups: (B,) integer environment of each row.
            aggregator: :class:`Mean` by default.
            row_weights: (B,) weights of the rows in their environment's mean loss; equal by default.
            environment_weights: (E,) factors of the environments present, in ascending order of their codes;
                1/E by default.
            state: What the aggregator returned at the last update.
            retain_graph: Keep the graph for another backward pass.

        Raises:
            UserError: ``losses`` are reduced, or ``groups`` do not match them.
            Diverged: A loss is not finite.
        """
        check_losses(losses, groups)
        check_some(losses)
        check_weights(len(losses), len(torch.unique(groups)), row_weights, environment_weights)
        means = environment_means(losses, groups, row_weights).values
        if environment_weights is None:
            environment_weights = torch.full_like(means, 1 / len(means))
        aggregator = Mean() if aggregator is None else aggregator
        stats = self._statistics(means * environment_weights, aggregator.needs, retain_graph)
        result = aggregator(stats, state or {})
        self._accumulate(result.gradients)
        return result

    def _statistics(self, objectives: Tensor, needs: frozenset[Stat], retain_graph: bool) -> dict[str, Stats]:
        totals: dict[str, Stats] = {}
        last = len(objectives) - 1
        for e, objective in enumerate(objectives):
            keep = retain_graph or e < last
            parameters = list(self.parameters.values())
            gradients = torch.autograd.grad(objective, parameters, retain_graph=keep, materialize_grads=True)
            for name, gradient in zip(self.parameters, gradients, strict=True):
                stats = Stats.of(gradient, needs)
                totals[name] = totals[name] + stats if name in totals else stats
        return totals

    def _accumulate(self, gradients: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            gradient = gradients[name]
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
