"""Several trainings of one architecture at once: seeds, and settings of learning rate, weight decay and penalties."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.core.ledger import Ledger
from holdfast.core.task import TrainingView
from holdfast.training.budget import Budget
from holdfast.training.records import Record
from holdfast.training.rules import SelectionRule
from holdfast.training.stacked import StackedNetwork, StackedRows, StackedStep, member_weights
from holdfast.training.stages import LogSchedule
from holdfast.training.step import GradientStep
from holdfast.training.trainer import Fit, Trainer, usual_sampler

_ROWS_APART = (
    nn.Sequential, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, nn.GroupNorm, nn.LayerNorm, nn.Flatten, nn.Identity,
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Member:
    """One of several trainings.

    Attributes:
        seed: Root of its random streams, as of a :class:`~holdfast.training.Trainer`.
        model: Its network with initial weights; trained in place.
        step: Its own; steps differ in learning rate, weight decay, L1, and the numbers of their parts alone.
    """

    seed: int
    model: nn.Module
    step: GradientStep


def fit_many(
    trainer: Trainer,
    members: Sequence[Member],
    view: TrainingView,
    *,
    stage: str = "main",
    budget: Budget | None = None,
    select: SelectionRule | None = None,
    keep: LogSchedule = LogSchedule(),  # noqa: B008  # frozen
) -> list[Fit]:
    """Train the members as one program; the same as ``Trainer.fit`` for each of them, to rounding.

    Weights are stacked, and every member draws the batches that its own trainer would draw. Where the members cannot
    be stacked, for the reason that :func:`why_apart` gives, they are trained one after another, with a warning that
    says so. That depends on architecture and steps alone, never on a timing. Histories hold losses, and no diagnostics;
    one member whose loss is not finite ends them all.

    Args:
        trainer: Gives budget, batch size, precision and store to all; its own seed is not used.
        members: What is trained.
        view: The rows.
        stage: The trainer's name for it.
        budget: Of each member; the trainer's by default.
        select: The rule that chooses each member's weights; the last ones by default.
        keep: Which weights to keep.

    Returns:
        A fit for each member, in order.

    Raises:
        UserError: There is no member, or a loss is not finite.
    """
    if not members:
        raise UserError("there is nothing to train: give one member at least")
    reason = why_apart(trainer, members)
    if reason is not None:
        warnings.warn(f"{len(members)} members are trained one after another: {reason}", stacklevel=2)
        return [_alone(trainer, member, view, stage, budget, select, keep) for member in members]
    network = StackedNetwork([member.model.to(trainer.device, trainer.dtype) for member in members])
    samplers = [usual_sampler(view, stage, member.seed, trainer.batch_size) for member in members]
    rows = StackedRows(trainer.place(view.train), samplers)
    step = StackedStep([member.step for member in members])
    joint = trainer.fit(network, view, step, stage=stage, source=rows, budget=budget, keep=keep)
    return [_fit_of(joint, trainer, network.names, members, k, view, select) for k in range(len(members))]


def why_apart(trainer: Trainer, members: Sequence[Member]) -> str | None:
    """Why members cannot be trained as one program; None where they can.

    It takes networks of one architecture whose layers keep rows apart, draw nothing and have no running statistics,
    and steps whose parts are of the same kinds, with one schedule, optimizers that differ in learning rate, weight
    decay and L1 only, and losses without parameters.
    """
    first = members[0]
    reasons = [_of_network(member.model, first.model) or _of_step(member.step, first.step) for member in members]
    if trainer.augment:
        reasons.append("images are augmented")
    return next(filter(None, reasons), None)


def _of_network(network: nn.Module, first: nn.Module) -> str | None:
    for layer in network.modules():
        if not isinstance(layer, _ROWS_APART):
            return f"{type(layer).__name__} is no layer of which it is known that it can be stacked"
    shapes = [{name: (w.shape, w.requires_grad) for name, w in n.named_parameters()} for n in (network, first)]
    if repr(network) != repr(first) or shapes[0] != shapes[1]:
        return "their architectures differ"
    return None if all(w.requires_grad for w in network.parameters()) else "some weights are not trained"


def _of_step(step: GradientStep, first: GradientStep) -> str | None:
    plain = [dataclasses.replace(s.optimizer, lr=0.0, weight_decay=0.0, l1=0.0) for s in (step, first)]
    kinds = [
        (type(s.risk), [type(penalty) for _, penalty in s.penalties], type(s.aggregator), type(s.weighting), s.loss)
        for s in (step, first)
    ]
    if type(step) is not GradientStep:
        return f"their step is {type(step).__name__}"
    if step.weighting is not None:
        return "their steps combine gradients by inner products"
    if step.taps or next(step.parameters(), None) is not None:
        return "parts of their step look into layers or are trained themselves"
    if plain[0] != plain[1] or step.schedule != first.schedule or kinds[0] != kinds[1]:
        return "their steps differ in more than numbers"
    return None


def _alone(
    trainer: Trainer,
    member: Member,
    view: TrainingView,
    stage: str,
    budget: Budget | None,
    select: SelectionRule | None,
    keep: LogSchedule,
) -> Fit:
    own = Trainer(
        seed=member.seed,
        budget=trainer.budget,
        batch_size=trainer.batch_size,
        device=trainer.device.type,
        precision=trainer.precision,
        augment=trainer.augment,
        report_progress=trainer.report_progress,
    )
    return own.fit(member.model, view, member.step, stage=stage, budget=budget, select=select or "last", keep=keep)


def _fit_of(
    joint: Fit,
    trainer: Trainer,
    names: Sequence[str],
    members: Sequence[Member],
    member: int,
    view: TrainingView,
    select: SelectionRule | None,
) -> Fit:
    """The part of a joint training that is one member's."""
    model = members[member].model

    def load(step: int) -> Mapping[str, Mapping[str, Tensor]]:
        return {"model": member_weights(joint.weights_at(step), names, member)}

    records: tuple[Record, ...] = ()
    chosen = joint.steps
    if select is not None and select.role is not None:
        records = trainer.records(load, joint.kept, model, view, select.role)
        chosen = select.choose(records)
    model.load_state_dict(load(chosen)["model"])
    history = tuple({"step": h["step"], "loss": h[f"loss {member}"]} for h in joint.history)
    ledger = _share(joint.ledger, len(members))
    return Fit({"model": model}, joint.steps, joint.kept, history, chosen, load, ledger, records)


def _share(ledger: Ledger, members: int) -> Ledger:
    """What one member cost: the steps of all, and its part of everything else."""
    return dataclasses.replace(
        ledger,
        gradients=ledger.gradients // members,
        forwards=ledger.forwards // members,
        seconds={name: seconds / members for name, seconds in ledger.seconds.items()},
    )
