"""Steps: what one update does. ``GradientStep`` combines the usual parts."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.taps import tapped
from holdfast.core.task import TrainingView
from holdfast.gradients import Aggregator, GradientEngine, GramianEngine
from holdfast.gradients.gramian import Weighting
from holdfast.losses import EnvironmentLosses, Loss, Penalty, Risk, default_loss
from holdfast.training.context import StepContext
from holdfast.training.optimizers import Adam, Optimizer
from holdfast.training.schedules import Schedule

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

Models = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


class Step(Protocol):
    """One update of some models. Whatever changes from update to update is in ``state_dict``.

    Attributes:
        passes: Backward passes that a row goes through, for the ledger.
    """

    passes: int

    def setup(self, models: Models, view: TrainingView, trainer: Trainer) -> Optimizers:
        """Called once before the first update; returns the optimizers by name."""
        ...

    def __call__(self, models: Models, batch: Batch, optimizers: Optimizers, progress: float) -> Mapping[str, Tensor]:
        """Make one update and return scalars for the history; ``progress`` is the part of the budget spent."""
        ...

    def close(self) -> None:
        """Called once after the last update: leave the models as they were but for their weights."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class GradientStep(nn.Module):
    """The usual update: loss, risk over environments, penalties, aggregation, optimizer.

    1. ``loss`` gives one value per example; L_e is its weighted mean over environment e.
    2. ``risk`` maps (L_e) to a scalar; by default it is the pooled mean over rows. With an ``aggregator``, that
       receives w_e ∇L_e with w_e = ∂risk/∂L_e.
    3. Gradients of the ``penalties``, then L1 and L2, are added after aggregation and never masked.

    Each part may be an ``nn.Module``: its buffers are checkpointed with the step, its parameters are trained in a
    parameter group named ``parts``.

    Args:
        loss: Per-example loss; the default of the task's kind.
        risk: See above.
        penalties: Pairs of weight and penalty.
        aggregator: An element-wise aggregator; None for a plain backward pass.
        weighting: Combines the environments' gradients by their inner products, in place of risk, penalties and
            aggregator.
        optimizer: How to build the optimizer, how its learning rate falls, L1 and L2.
        schedule: When penalties switch on.
        taps: Layers whose outputs penalties find in ``context.features``; see :func:`~holdfast.core.taps.tapped`.
    """

    def __init__(
        self,
        *,
        loss: Loss | None = None,
        risk: Risk | None = None,
        penalties: Sequence[tuple[float, Penalty]] = (),
        aggregator: Aggregator | None = None,
        weighting: Weighting | None = None,
        optimizer: Optimizer = Adam(),  # noqa: B008  # frozen
        schedule: Schedule = Schedule(),  # noqa: B008  # frozen
        taps: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if weighting is not None and (risk or penalties or aggregator):
            raise ValueError("a weighting takes the place of risk, penalties and aggregator")
        self.loss, self.risk, self.aggregator, self.weighting = loss, risk, aggregator, weighting
        self.penalties = tuple(penalties)
        self.penalty_modules = nn.ModuleList(p for _, p in penalties if isinstance(p, nn.Module))
        self.optimizer, self.schedule, self.taps = optimizer, schedule, tuple(taps)
        self.passes = 1 + bool((aggregator and penalties) or weighting)
        self.updates = 0
        self._penalized = False
        self.aggregator_state: Mapping[str, Any] = {}
        self._engine: GradientEngine | None = None
        self._gramian_engine: GramianEngine | None = None
        self._autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    def setup(self, models: Models, view: TrainingView, trainer: Trainer) -> Optimizers:
        """Build the optimizer of ``models["model"]`` and of the parts' own parameters."""
        model = models["model"]
        self.to(trainer.device)
        self.loss = self.loss or default_loss(view.kind, view.target_scale)
        self._autocast = trainer.autocast
        if self.aggregator is not None:
            self._engine = GradientEngine(self._aggregated(model))
        if self.weighting is not None:
            self._gramian_engine = GramianEngine(self._aggregated(model))
        groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if p.requires_grad], "name": "model"}]
        if parts := [p for p in self.parameters() if p.requires_grad]:
            groups.append({"params": parts, "name": "parts"})
        return {"model": self.optimizer.build(groups)}

    def forward(self, models: Models, batch: Batch, optimizers: Optimizers, progress: float) -> Mapping[str, Tensor]:
        """One update."""
        model, optimizer = models["model"], optimizers["model"]
        self._follow_schedule(optimizer, progress)
        context = self._run(model, batch, progress)
        optimizer.zero_grad()
        diagnostics = self._gradients(context)
        if self.optimizer.l1:
            _add_l1(model, self.optimizer.l1)
        optimizer.step()
        self.updates += 1
        return {"loss": context.losses.detach().mean(), **diagnostics}

    def close(self) -> None:
        """Take the engines' hooks off the model."""
        for engine in (self._engine, self._gramian_engine):
            if engine is not None:
                engine.close()

    def get_extra_state(self) -> dict[str, Any]:
        """What is not a buffer: the number of updates and the aggregator's state."""
        return {"updates": self.updates, "penalized": self._penalized, "aggregator": dict(self.aggregator_state)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.updates, self._penalized, self.aggregator_state = (
            state["updates"],
            state["penalized"],
            state["aggregator"],
        )

    def _aggregated(self, model: nn.Module) -> nn.Module:
        """What the losses are made with: the model, and the loss where that has parameters of its own."""
        if isinstance(self.loss, nn.Module) and next(self.loss.parameters(), None) is not None:
            return nn.ModuleDict({"model": model, "loss": self.loss})
        return model

    def _follow_schedule(self, optimizer: torch.optim.Optimizer, progress: float) -> None:
        self.optimizer.set_rate([optimizer], self.updates, progress)
        if self.penalties_begin(progress) and self.schedule.reset_optimizer:
            optimizer.state.clear()

    def penalties_begin(self, progress: float) -> bool:
        """Whether penalties count fully from this update on; true once."""
        begin = bool(self.penalties) and not self._penalized and self.schedule.penalty_factor(progress) == 1.0
        self._penalized = self._penalized or begin
        return begin

    def _run(self, model: nn.Module, batch: Batch, progress: float) -> StepContext:
        assert self.loss is not None, "setup() was not called"
        with tapped(model, self.taps) as features, self._autocast():
            outputs = model(batch.x)
            losses = self.loss(outputs, batch.labels)
        return StepContext(batch, outputs, features, losses, self.loss, self.updates, progress)

    def penalty_of(self, context: StepContext) -> Tensor | None:
        """The sum of the penalties with their weights and the schedule's factor; None where nothing counts."""
        factor = self.schedule.penalty_factor(context.progress)
        if not self.penalties or factor == 0:
            return None
        return factor * torch.stack([weight * penalty(context) for weight, penalty in self.penalties]).sum()

    def _gradients(self, context: StepContext) -> Mapping[str, Tensor]:
        """Fill ``.grad``; returns scalars for the history."""
        if self.weighting is not None:
            return self._weigh(context, self.weighting)
        penalty = self.penalty_of(context)
        return self._backward(context, penalty) if self.aggregator is None else self._aggregate(context, penalty)

    def _weigh(self, context: StepContext, weighting: Weighting) -> Mapping[str, Tensor]:
        assert self._gramian_engine is not None, "setup() was not called"
        batch = context.batch
        result = self._gramian_engine.backward(
            context.losses,
            batch.environment,
            weighting=weighting,
            row_weights=batch.weight,
            state=self.aggregator_state,
        )
        self.aggregator_state = result.state
        return result.diagnostics

    def _backward(self, context: StepContext, penalty: Tensor | None) -> Mapping[str, Tensor]:
        risk = self.risk_of(context)
        (risk if penalty is None else risk + penalty).backward()  # type: ignore[no-untyped-call]
        return {} if penalty is None else {"penalty": penalty.detach()}

    def risk_of(self, context: StepContext) -> Tensor:
        """What is minimised but for penalties: the risk, or the weighted mean over rows."""
        if self.risk is not None:
            return self.risk(context.environment_losses)
        return context.batch.mean(context.losses)

    def _aggregate(self, context: StepContext, penalty: Tensor | None) -> Mapping[str, Tensor]:
        assert self._engine is not None, "setup() was not called"
        result = self._engine.backward(
            context.losses,
            context.batch.environment,
            aggregator=self.aggregator,
            row_weights=context.batch.weight,
            environment_weights=self.environment_weights(context.environment_losses),
            state=self.aggregator_state,
            retain_graph=penalty is not None,
        )
        self.aggregator_state = result.state
        if penalty is None:
            return result.diagnostics
        penalty.backward()  # type: ignore[no-untyped-call]
        return {"penalty": penalty.detach(), **result.diagnostics}

    def environment_weights(self, losses: EnvironmentLosses) -> Tensor:
        """w_e = ∂risk/∂L_e."""
        if self.risk is None:
            return losses.shares
        values = losses.values.detach().requires_grad_()
        (weights,) = torch.autograd.grad(self.risk(EnvironmentLosses(values, losses.codes, losses.shares)), values)
        if (weights < 0).any():
            warnings.warn(
                "the risk gives an environment negative weight: its gradient is flipped before the aggregator "
                "compares signs",
                stacklevel=2,
            )
        return weights


def _add_l1(model: nn.Module, l1: float) -> None:
    """Add to ``.grad``; parameters without a gradient are left alone."""
    for p in model.parameters():
        if p.grad is not None:
            p.grad.add_(p.detach().sign(), alpha=l1)
