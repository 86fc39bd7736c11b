"""Networks of one architecture as one program: stacked weights, batches, updates.

Shapes: M members, B rows of a batch of each, E environments in it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from holdfast.core.data import Batch, Dataset, Inputs
from holdfast.core.task import TrainingView
from holdfast.gradients import Aggregated, Stats
from holdfast.losses import EnvironmentLosses, default_loss, environment_means
from holdfast.selection.samplers import Sampler
from holdfast.training.context import StepContext
from holdfast.training.optimizers import Optimizer
from holdfast.training.step import GradientStep, Models, Optimizers

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class StackedNetwork(nn.Module):
    """M networks of one architecture; inputs and outputs have a leading dimension of members.

    Args:
        networks: Without buffers; their weights are copied.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        stacked, _ = stack_module_state(list(networks))
        self.names = tuple(stacked)
        self.weights = nn.ParameterList(nn.Parameter(stacked[name].detach()) for name in self.names)
        self._architecture = (copy.deepcopy(networks[0]).to("meta").train(),)  # in a tuple: its weights are nobody's

    def forward(self, x: Inputs) -> Tensor:
        """(M, B, …), or a dict of them, to (M, B, K)."""
        (architecture,) = self._architecture

        def one(weights: dict[str, Tensor], rows: Inputs) -> Tensor:
            return functional_call(architecture, weights, (rows,))  # type: ignore[no-any-return]

        return vmap(one)(dict(zip(self.names, self.weights, strict=True)), x)


def member_weights(stacked: Mapping[str, Tensor], names: Sequence[str], member: int) -> dict[str, Tensor]:
    """The state dict of one member in that of a :class:`StackedNetwork`."""
    return {name: stacked[f"weights.{k}"][member] for k, name in enumerate(names)}


class StackedRows:
    """Batches of M · B rows of one data set, those of one member after those of another.

    Args:
        data: The rows.
        samplers: One for each member; they draw as many rows.
    """

    def __init__(self, data: Dataset, samplers: Sequence[Sampler]) -> None:
        self.data, self.samplers = data, list(samplers)

    def next_batch(self) -> Batch:
        """The members' next rows."""
        return self.data.batch(torch.cat([sampler.draw() for sampler in self.samplers]))

    def state_dict(self) -> dict[str, Any]:
        return {"samplers": [sampler.state_dict() for sampler in self.samplers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for sampler, of_sampler in zip(self.samplers, state["samplers"], strict=True):
            sampler.load_state_dict(of_sampler)


class StackedOptimizer:
    """One optimizer for all members, with a learning rate and weight decay for each.

    An inner optimizer of learning rate 1 turns gradients into updates, which are then scaled for each member.

    Args:
        weights: (M, …) tensors.
        optimizers: One for each member; they differ in ``lr``, ``weight_decay`` and ``l1`` alone.
    """

    def __init__(self, weights: Sequence[nn.Parameter], optimizers: Sequence[Optimizer]) -> None:
        self.weights = list(weights)
        self.updates = [torch.zeros_like(w) for w in self.weights]
        plain = dataclasses.replace(optimizers[0], lr=1.0, weight_decay=0.0, l1=0.0)
        self.inner = plain.build([{"params": self.updates}])
        self.decoupled = optimizers[0].decoupled
        self.lr = torch.tensor([o.lr for o in optimizers], dtype=torch.float64)
        self.decay = torch.tensor([o.weight_decay for o in optimizers], dtype=torch.float64)
        self.decays = bool(self.decay.any())

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for w in self.weights:
            w.grad = None

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update, with every learning rate times a factor."""
        lr = self.lr * factor
        for w, update in zip(self.weights, self.updates, strict=True):
            assert w.grad is not None
            if self.decays and self.decoupled:
                w.mul_(1 - _wide(lr * self.decay, w))
            elif self.decays:
                w.grad.addcmul_(w, _wide(self.decay, w))
            update.grad = w.grad
            update.zero_()
        self.inner.step()
        for w, update in zip(self.weights, self.updates, strict=True):
            w.addcmul_(update, _wide(lr, w))

    def forget(self) -> None:
        """Clear the moments."""
        self.inner.state.clear()

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state)


class StackedStep(nn.Module):
    """The update of a ``GradientStep`` for M members at once.

    Args:
        steps: One for each member.
    """

    def __init__(self, steps: Sequence[GradientStep]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.passes = steps[0].passes
        self.updates = 0
        self._autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    def setup(self, models: Models, view: TrainingView, trainer: Trainer) -> Optimizers:
        """Build the optimizer."""
        self.to(trainer.device)
        for step in self._each():
            step.loss = step.loss or default_loss(view.kind, view.target_scale)
        self._autocast = trainer.autocast
        optimizer = StackedOptimizer(list(models["model"].parameters()), [step.optimizer for step in self._each()])
        return {"model": optimizer}  # type: ignore[dict-item]

    def forward(self, models: Models, batch: Batch, optimizers: Optimizers, progress: float) -> Mapping[str, Tensor]:
        """One update of all members."""
        network: Any = models["model"]
        optimizer: Any = optimizers["model"]
        first = next(self._each())
        self._forget_moments(optimizer, progress)
        with self._autocast():
            outputs = network(_split(batch.x, len(self.steps)))
            if first.penalties:  # apart and together again, so that they can differentiate losses in a member's outputs
                apart = outputs.unbind()
                outputs = torch.stack(apart)
            else:
                apart = outputs
            assert first.loss is not None
            losses = first.loss(outputs.flatten(0, 1), batch.labels).view(len(self.steps), -1)
        optimizer.zero_grad()
        self._backward(network, apart, losses, batch, progress)
        self._add_l1(network)
        optimizer.step(first.optimizer.lr_factor(self.updates, progress))
        self.updates += 1
        return MemberScalars(losses.detach().mean(dim=1))

    def close(self) -> None:
        """Tell the members' steps how many updates they have made."""
        self.get_extra_state()

    def get_extra_state(self) -> dict[str, Any]:
        """The number of updates, which the members' own states hold as well."""
        for step in self._each():
            step.updates = self.updates
        return {"updates": self.updates}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.updates = state["updates"]

    def _each(self) -> Iterator[GradientStep]:
        return (step for step in self.steps if isinstance(step, GradientStep))

    def _forget_moments(self, optimizer: StackedOptimizer, progress: float) -> None:
        """Schedules are equal, so that penalties switch on for all members at once."""
        if not next(self._each()).penalties:
            return
        begin = [step.penalties_begin(progress) for step in self._each()]
        if begin[0] and next(self._each()).schedule.reset_optimizer:
            optimizer.forget()

    def _backward(
        self, network: StackedNetwork, outputs: Sequence[Tensor], losses: Tensor, batch: Batch, progress: float
    ) -> None:
        first = next(self._each())
        if first.risk is None and not first.penalties and first.aggregator is None:
            _pooled(losses, batch).sum().backward()  # type: ignore[no-untyped-call]
            return
        contexts = list(self._contexts(outputs, losses, batch, progress))
        penalties = [step.penalty_of(context) for step, context in zip(self._each(), contexts, strict=True)]
        present = [penalty for penalty in penalties if penalty is not None]
        if first.aggregator is None:
            risks = [step.risk_of(context) for step, context in zip(self._each(), contexts, strict=True)]
            torch.stack([*risks, *present]).sum().backward()  # type: ignore[no-untyped-call]
            return
        self._aggregate(network, contexts, retain_graph=bool(present))
        if present:
            torch.stack(present).sum().backward()  # type: ignore[no-untyped-call]

    def _contexts(
        self, outputs: Sequence[Tensor], losses: Tensor, batch: Batch, progress: float
    ) -> Iterator[StepContext]:
        """What each member's own step would know."""
        size, means = losses.shape[1], means_of_members(losses, batch)
        for member, step in enumerate(self._each()):
            part = _rows_of(batch, slice(member * size, (member + 1) * size))
            assert step.loss is not None
            context = StepContext(part, outputs[member], {}, losses[member], step.loss, self.updates, progress)
            vars(context)["environment_losses"] = means[member]  # made for all members at once
            yield context

    def _aggregate(self, network: StackedNetwork, contexts: Sequence[StepContext], retain_graph: bool) -> None:
        """Environment by environment for all members, then each member's statistics to its aggregator."""
        environments = [context.environment_losses for context in contexts]
        weights = [step.environment_weights(e) for step, e in zip(self._each(), environments, strict=True)]
        count = len(environments[0].codes)
        objectives = torch.stack([(e.values * w.detach()) for e, w in zip(environments, weights, strict=True)]).sum(
            dim=0
        )
        needs = next(self._each()).aggregator.needs  # type: ignore[union-attr]
        totals: dict[str, Stats] = {}
        for e in range(count):
            keep = retain_graph or e < count - 1
            gradients = torch.autograd.grad(objectives[e], list(network.weights), retain_graph=keep)
            for name, gradient in zip(network.names, gradients, strict=True):
                stats = Stats.of(gradient, needs)
                totals[name] = totals[name] + stats if name in totals else stats
        results = [self._aggregated(step, totals, member) for member, step in enumerate(self._each())]
        for k, name in enumerate(network.names):
            network.weights[k].grad = torch.stack([result.gradients[name] for result in results])

    @staticmethod
    def _aggregated(step: GradientStep, totals: Mapping[str, Stats], member: int) -> Aggregated:
        own = {
            name: Stats(stats.environments, **{part: tensor[member] for part, tensor in stats.tensors().items()})
            for name, stats in totals.items()
        }
        assert step.aggregator is not None
        result = step.aggregator(own, step.aggregator_state)
        step.aggregator_state = result.state
        return result

    def _add_l1(self, network: StackedNetwork) -> None:
        l1 = torch.tensor([step.optimizer.l1 for step in self._each()], dtype=torch.float64)
        if not l1.any():
            return
        for w in network.weights:
            assert w.grad is not None
            w.grad += _wide(l1, w) * w.detach().sign()


class MemberScalars(Mapping[str, Tensor]):
    """The members' losses and their mean, made into scalars only where they are read.

    Args:
        losses: (M,).
    """

    def __init__(self, losses: Tensor) -> None:
        self.losses = losses

    def __getitem__(self, name: str) -> Tensor:
        return self.losses.mean() if name == "loss" else self.losses[int(name.removeprefix("loss "))]

    def __iter__(self) -> Iterator[str]:
        return iter(["loss", *(f"loss {member}" for member in range(len(self.losses)))])

    def __len__(self) -> int:
        return 1 + len(self.losses)


def means_of_members(losses: Tensor, batch: Batch) -> list[EnvironmentLosses]:
    """Mean losses of the environments in each member's batch, from losses (M, B)."""
    members, size = losses.shape
    shifted = batch.environment + 1  # unknown is an environment, too
    span = int(shifted.max()) + 1
    keys = shifted + span * torch.arange(members, device=shifted.device).repeat_interleave(size)
    found = environment_means(losses.flatten(), keys, batch.weight)
    counts = torch.bincount(found.codes // span, minlength=members).tolist()
    parts = (torch.split(part, counts) for part in (found.values, found.codes % span - 1, found.shares))
    return [
        EnvironmentLosses(values, codes, shares / shares.sum()) for values, codes, shares in zip(*parts, strict=True)
    ]


def _pooled(losses: Tensor, batch: Batch) -> Tensor:
    """(M,) each member's weighted mean loss over its rows."""
    if batch.weight is None:
        return losses.mean(dim=1)
    weight = batch.weight.view_as(losses)
    return (weight * losses).sum(dim=1) / weight.sum(dim=1)


def _wide(per_member: Tensor, weights: Tensor) -> Tensor:
    """(M,) as (M, 1, …) beside weights (M, …)."""
    return per_member.to(weights).reshape(-1, *[1] * (weights.ndim - 1))


def _split(x: Inputs, members: int) -> Inputs:
    """(M · B, …) as (M, B, …)."""
    if isinstance(x, dict):
        return {name: _split_one(values, members) for name, values in x.items()}
    return _split_one(x, members)


def _split_one(values: Tensor, members: int) -> Tensor:
    return values.reshape(members, -1, *values.shape[1:])


def _rows_of(batch: Batch, part: slice) -> Batch:
    return Batch(
        x={name: values[part] for name, values in batch.x.items()} if isinstance(batch.x, dict) else batch.x[part],
        y=None if batch.y is None else batch.y[part],
        environment=batch.environment[part],
        attributes={name: values[part] for name, values in batch.attributes.items()},
        weight=None if batch.weight is None else batch.weight[part],
        index=batch.index[part],
    )
