"""One update from several micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from holdfast.core.errors import UserError
from holdfast.gradients.aggregators import Aggregated, Aggregator, State
from holdfast.gradients.checks import check_losses, check_weights
from holdfast.gradients.engine import GradientEngine
from holdfast.gradients.statistics import Stats


class MicroBatches:
    """Adds the statistics of micro-batches that hold whole environments, then aggregates once.

    Memory is O(P) whatever the number of environments is. An environment's rows must lie in one micro-batch, because
    the sign of a sum is not the sum of signs; :class:`SplitEnvironments` takes environments in pieces. Layers that
    mix rows, such as batch normalisation in training mode, are exact where each micro-batch is one environment.

    Args:
        engine: Of the model.
        aggregator: What to make of all environments' gradients, each weighted 1/E.

    >>> from holdfast.gradients import AndMask
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> batches = MicroBatches(GradientEngine(model), AndMask(rescale="none"))
    >>> for environment, x in enumerate([1.0, 3.0]):
    ...     batches.add(model(torch.tensor([[x]])).squeeze(1), torch.tensor([environment]))
    >>> _ = batches.finish()
    >>> model.weight.grad
    tensor([[2.]])
    """

    def __init__(self, engine: GradientEngine, aggregator: Aggregator) -> None:
        self._engine, self._aggregator = engine, aggregator
        self._seen: set[int] = set()
        self._statistics: dict[str, Stats] = {}

    def add(self, losses: Tensor, groups: Tensor, *, row_weights: Tensor | None = None, scale: float = 1.0) -> None:
        """Add (B,) losses of the rows of some environments; arguments are those of the engine.

        Raises:
            UserError: An environment had rows in an earlier micro-batch.
        """
        check_losses(losses, groups)
        codes = set(torch.unique(groups).tolist())
        if again := codes & self._seen:
            raise UserError(
                f"environment {min(again)} has rows in two micro-batches: keep its rows together, "
                "or use SplitEnvironments, which holds one gradient per environment"
            )
        ones = torch.ones(len(codes), device=losses.device)
        found = self._engine.statistics(
            losses, groups, needs=self._aggregator.needs, row_weights=row_weights, environment_weights=ones, scale=scale
        )
        self._seen |= codes
        self._statistics = {n: self._statistics[n] + s for n, s in found.items()} if self._statistics else found

    def finish(self, *, state: State | None = None, scale: float = 1.0) -> Aggregated:
        """Aggregate, add ``scale`` times the result to ``.grad``, and start afresh."""
        if not self._statistics:
            raise UserError("no micro-batch was added")
        weighted = {name: stats.scaled(1 / stats.environments) for name, stats in self._statistics.items()}
        result = self._engine.apply(weighted, self._aggregator, state=state, scale=scale)
        self._seen, self._statistics = set(), {}
        return result


class SplitEnvironments:
    """The same for environments in pieces: holds one gradient per open environment, E × P numbers.

    Each piece costs one backward pass per environment in it.

    Args:
        engine: Of the model.
        aggregator: What to make of all environments' gradients, each weighted 1/E.
    """

    def __init__(self, engine: GradientEngine, aggregator: Aggregator) -> None:
        self._engine, self._aggregator = engine, aggregator
        self._sums: dict[int, Mapping[str, Tensor]] = {}
        self._weights: dict[int, Tensor] = {}

    def add(self, losses: Tensor, groups: Tensor, *, row_weights: Tensor | None = None, scale: float = 1.0) -> None:
        """Add (B,) losses of any rows of any environments; arguments are those of the engine.

        Raises:
            UserError: As from the engine; a layer that mixes rows would mix pieces. Nothing of the batch was added.
        """
        check_losses(losses, groups)
        check_weights(len(losses), 0, row_weights, None)
        self._engine.refuse_row_mixing(losses)
        weights = torch.ones_like(losses) if row_weights is None else row_weights.to(losses)
        codes = torch.unique(groups).tolist()
        pieces = {}
        for code in codes:
            rows = groups == code
            total = weights[rows].sum()
            statistics = self._engine.statistics(
                losses[rows],
                groups[rows],
                row_weights=weights[rows],
                environment_weights=total[None],
                scale=scale,
                retain_graph=code != codes[-1],
            )
            pieces[code] = total, {name: stats.sum for name, stats in statistics.items()}
        for code, (total, gradients) in pieces.items():
            before = self._sums.get(code)
            self._sums[code] = gradients if before is None else {n: before[n] + g for n, g in gradients.items()}
            self._weights[code] = self._weights.get(code, torch.zeros_like(total)) + total

    def finish(self, *, state: State | None = None, scale: float = 1.0) -> Aggregated:
        """Aggregate, add ``scale`` times the result to ``.grad``, and start afresh."""
        if not self._sums:
            raise UserError("no micro-batch was added")
        statistics: dict[str, Stats] = {}
        for name, stats in self._environments():
            statistics[name] = statistics[name] + stats if name in statistics else stats
        result = self._engine.apply(statistics, self._aggregator, state=state, scale=scale)
        self._sums, self._weights = {}, {}
        return result

    def _environments(self) -> Iterator[tuple[str, Stats]]:
        for code, gradients in self._sums.items():
            factor = 1 / (len(self._sums) * self._weights[code])
            for name, gradient in gradients.items():
                yield name, Stats.of(factor * gradient, self._aggregator.needs)
