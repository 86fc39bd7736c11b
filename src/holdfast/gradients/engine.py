"""The fast engine: gradients of any number of environments from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn

from holdfast.core.errors import Diverged, UserError
from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.aggregators import Aggregated, Aggregator, Mean, State
from holdfast.gradients.calls import Recorder, walk
from holdfast.gradients.checks import check_losses, check_scale, check_some, check_weights
from holdfast.gradients.collector import Collector
from holdfast.gradients.grouping import Grouping
from holdfast.gradients.plan import refuse_row_mixing
from holdfast.gradients.request import Request
from holdfast.gradients.statistics import Stat, Stats

Groups = Tensor | Literal["per-example"]


class GradientEngine:
    """Statistics of per-environment gradients, layer by layer, and the update that an aggregator makes of them.

    The constructor hooks the model's layers; a forward pass with gradients then leaves each layer's input in the
    autograd graph. :meth:`backward` takes the gradients of the layers' outputs, not of the parameters, and a rule
    per family of layers turns the two into sums over environments. Parameters that no rule serves are computed on
    their module alone, or by one pass per environment; :meth:`explain` says which. The first step of each kind, and
    then more and more seldom, is checked against autograd.

    ``close``, leaving the ``with`` block, or garbage collection removes the hooks.

    Args:
        model: Any module; its parameters may change but not be exchanged.
        chunk_bytes: Bound on the memory for gradients of single environments; one always fits.

    >>> from holdfast.gradients import AndMask
    >>> model = nn.Linear(2, 1, bias=False)
    >>> engine = GradientEngine(model)
    >>> losses = (model(torch.tensor([[1.0, 1.0], [1.0, -1.0]])) - 9).squeeze(1)
    >>> _ = engine.backward(losses, groups=torch.tensor([0, 1]), aggregator=AndMask(rescale="none"))
    >>> model.weight.grad
    tensor([[1., 0.]])
    """

    def __init__(self, model: nn.Module, *, chunk_bytes: int = 2**23) -> None:
        if chunk_bytes < 1:
            raise UserError(f"chunk_bytes={chunk_bytes} must be positive")
        self.model = model
        self._recorder = Recorder()
        self._detach = self._recorder.attach(model, self)
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        self._collector = Collector(chunk_bytes)

    def backward(
        self,
        losses: Tensor,
        groups: Groups,
        *,
        aggregator: Aggregator | None = None,
        row_weights: Tensor | None = None,
        environment_weights: Tensor | None = None,
        state: State | None = None,
        scale: float = 1.0,
        retain_graph: bool = False,
    ) -> Aggregated:
        """Add the aggregated gradient to ``.grad`` of every parameter that requires one.

        Args:
            losses: (B,) per-example losses with a graph.
            groups: (B,) integer environment of each row, or ``"per-example"``.
            aggregator: :class:`Mean` by default.
            row_weights: (B,) weights of the rows in their environment's mean loss; equal by default.
            environment_weights: (E,) factors of the environments present, in ascending order of their codes;
                1/E by default.
            state: What the aggregator returned at the last update.
            scale: Factor of the losses during the pass and of what is added to ``.grad``, as a gradient scaler
                wants it; the statistics are free of it.
            retain_graph: Keep the graph for another backward pass.

        Raises:
            UserError: ``losses`` are reduced, ``groups`` or weights do not match them, or the model mixes rows or was
                changed after the engine was made.
            Diverged: A loss is not finite, or a gradient is not (with ``scale``, ``.grad`` becomes NaN instead, for the
                scaler to see).
        """
        aggregator = Mean() if aggregator is None else aggregator
        if isinstance(losses, Tensor):
            check_some(losses)
        statistics = self.statistics(
            losses,
            groups,
            needs=aggregator.needs,
            row_weights=row_weights,
            environment_weights=environment_weights,
            scale=scale,
            retain_graph=retain_graph,
        )
        return self.apply(statistics, aggregator, state=state, scale=scale)

    def statistics(
        self,
        losses: Tensor,
        groups: Groups,
        *,
        needs: frozenset[Stat] = frozenset(),
        row_weights: Tensor | None = None,
        environment_weights: Tensor | None = None,
        scale: float = 1.0,
        retain_graph: bool = False,
    ) -> dict[str, Stats]:
        """The statistics by parameter name, for whoever adds them up over micro-batches; ``.grad`` is not touched.

        Arguments and errors are those of :meth:`backward`, but there may be no rows, as on a rank without work.
        """
        check_scale(scale)
        grouping = self.grouping(losses, groups)
        check_weights(len(losses), len(grouping.sizes), row_weights, environment_weights)
        if len(losses) == 0:
            empty = {name: Stats.of(torch.zeros_like(p), needs) for p, name in self._trainable().items()}
            return {name: replace(stats, environments=0) for name, stats in empty.items()}
        coefficients = scale * grouping.coefficients(row_weights, environment_weights, losses.detach())
        make = partial(Accumulator, needs=needs)
        return self.collect(Request(losses, coefficients, grouping, needs, scale, retain_graph, make))

    def collect(self, request: Request) -> dict[str, Stats]:
        """The statistics by parameter name of a request whose arguments were checked."""
        trainable = self._trainable()
        with torch.enable_grad(), torch.autocast(request.losses.device.type, enabled=False):
            graph = walk(request.losses, self._recorder)
            modes = tuple(module.training for module in self.model.modules())
            try:
                with self._recorder.pause():
                    statistics = self._collector.collect(request, graph, list(trainable), modes)
            finally:
                if not request.retain_graph:
                    graph.forget(self._recorder)
        return {name: statistics[parameter] for parameter, name in trainable.items()}

    def apply(
        self, statistics: Mapping[str, Stats], aggregator: Aggregator, *, state: State | None = None, scale: float = 1.0
    ) -> Aggregated:
        """Aggregate, and add to ``.grad``; the statistics are used up.

        The gradients returned may share their memory with ``.grad``.
        """
        with torch.no_grad():
            result = aggregator(statistics, state or {})
            broken = _first_not_finite(result.gradients)
            if broken is not None and scale == 1.0:
                raise Diverged(f"the gradient of {broken!r} is not finite: lower the learning rate")
            if broken is not None:
                result = Aggregated({name: g * torch.nan for name, g in result.gradients.items()}, state=state or {})
            for parameter, name in self._trainable().items():
                gradient = result.gradients[name].to(parameter.dtype)
                if scale != 1.0:
                    gradient = gradient * scale
                if parameter.grad is None:
                    parameter.grad = gradient
                else:
                    parameter.grad += gradient
        return result

    def refuse_row_mixing(self, losses: Tensor) -> None:
        """Refuse batch normalisation in training mode under these losses.

        Raises:
            UserError: There is one.
        """
        refuse_row_mixing(walk(losses, self._recorder).outputs)

    def explain(self) -> str:
        """How the gradient of each parameter was made at the last step, one line each."""
        ways = self._collector.ways
        return "\n".join(f"{self._names[p]}: {way}" for p, way in ways.items()) or "no step was made yet"

    @property
    def buffer_bytes(self) -> int:
        """Memory that is held from step to step."""
        return self._collector.workspace.bytes

    def close(self) -> None:
        """Remove the hooks and free the buffers; the model is as it was."""
        self._detach()
        self._collector.workspace.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def grouping(self, losses: Tensor, groups: Groups) -> Grouping:
        """Check everything that would give a silent wrong gradient, then group the rows."""
        if not self._detach.alive:
            raise UserError("the engine is closed: make a new one")
        per_example = isinstance(groups, str) and isinstance(losses, Tensor)
        if isinstance(groups, str) and groups != "per-example":
            raise UserError(f"groups={groups!r}: give whole numbers or 'per-example'")
        codes = torch.arange(losses.numel(), device=losses.device).view(losses.shape) if per_example else groups
        check_losses(losses, codes)
        assert isinstance(codes, Tensor)
        self._check_parameters(losses.device)
        return Grouping.per_example(codes) if per_example else Grouping.of(codes.to(losses.device, torch.int64))

    def _check_parameters(self, device: torch.device) -> None:
        for parameter in self.model.parameters():
            if parameter not in self._names:
                raise UserError("the model has parameters that it had not when the engine was made: make a new engine")
            if parameter.requires_grad and parameter.device != device:
                name = self._names[parameter]
                raise UserError(f"parameter {name!r} is on {parameter.device} and the losses are on {device}")

    def _trainable(self) -> dict[Tensor, str]:
        trainable = {parameter: name for parameter, name in self._names.items() if parameter.requires_grad}
        if not trainable:
            raise UserError("no parameter of the model requires a gradient")
        return trainable


def _first_not_finite(gradients: Mapping[str, Tensor]) -> str | None:
    """The name of a parameter whose gradient is not finite, at the price of one look at the device."""
    totals = [gradient.sum().double() for gradient in gradients.values()]
    finite = torch.stack(totals).isfinite().tolist() if totals else []
    return next((name for name, good in zip(gradients, finite, strict=True) if not good), None)
