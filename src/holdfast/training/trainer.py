"""The trainer: device, precision, random streams, budget, ledger, finished stages, and the one loop."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from holdfast.core.augmentation import Augmentation
from holdfast.core.errors import Diverged, UserError
from holdfast.core.ledger import Ledger
from holdfast.core.predictors import forward
from holdfast.core.seeds import numpy_rng, seed_for, torch_rng
from holdfast.core.task import Role, TrainingView
from holdfast.selection import Augmented, EnvironmentSampler, Rows, Source
from holdfast.training.budget import Budget
from holdfast.training.records import Record, record
from holdfast.training.rules import SelectionRule
from holdfast.training.stages import LogSchedule, MemoryStore, StageStore
from holdfast.training.step import Step

if TYPE_CHECKING:
    import numpy as np

    from holdfast.core.method import Method

Precision = Literal["32-true", "64-true", "bf16-mixed"]
Scalars = dict[str, float]
_HISTORY_POINTS = 200


@dataclass(frozen=True)
class Fit:
    """A finished stage.

    Attributes:
        models: The models of the stage with the selected weights, by name.
        steps: Updates made.
        kept: Steps whose weights can be had from :meth:`at`.
        history: Scalars along the way: ``{"step": …, "loss": …}``.
        records: Scores of the kept checkpoints on the selection rows, where a rule asked for them.
        selected: The step whose weights the models hold.
        ledger: What the stage has cost.
    """

    models: Mapping[str, nn.Module]
    steps: int
    kept: tuple[int, ...]
    history: tuple[Scalars, ...]
    selected: int
    load: Callable[[int], Mapping[str, Mapping[str, Tensor]]]
    ledger: Ledger
    records: tuple[Record, ...] = ()

    @property
    def model(self) -> nn.Module:
        """The main model."""
        return self.models["model"]

    def weights_at(self, step: int, name: str = "model") -> Mapping[str, Tensor]:
        """The kept weights after ``step`` updates, as a state dict.

        Raises:
            UserError: They were not kept.
        """
        if step not in self.kept:
            raise UserError(f"the weights of step {step} were not kept: there are {', '.join(map(str, self.kept))}")
        return self.load(step)[name]

    def at(self, step: int) -> nn.Module:
        """The main model, moved to its weights after ``step`` updates."""
        self.model.load_state_dict(self.weights_at(step))
        return self.model

    @property
    def last(self) -> nn.Module:
        """The main model, moved to its last weights."""
        return self.at(self.steps)


class Trainer:
    """Owns the loop. Methods call :meth:`fit`, once per stage, and do what they like in between.

    Args:
        seed: Root of every random stream.
        budget: How long a stage trains unless the method says otherwise.
        batch_size: Rows per update.
        device: As Lightning Fabric names accelerators: ``cpu``, ``cuda``, ``mps``, ``auto``.
        precision: ``32-true``, ``64-true`` or ``bf16-mixed``.
        store: Where stages are kept; in memory by default.
        augment: What is done to the images of training batches, in order.
        checkpoint_seconds: Time between full checkpoints of a running stage; 0 writes one after every update.
        report_progress: Called now and then with the stage and the part of its budget spent.
    """

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        *,
        seed: int = 0,
        budget: Budget = Budget(400),  # noqa: B008  # frozen
        batch_size: int = 128,
        device: str = "cpu",
        precision: Precision = "32-true",
        store: StageStore | None = None,
        augment: Sequence[Augmentation] = (),
        checkpoint_seconds: float = 20.0,
        report_progress: Callable[[str, float], None] | None = None,
    ) -> None:
        from lightning_fabric import Fabric

        if budget.amount < 1 or batch_size < 1:
            raise UserError(f"the budget is {budget.amount} {budget.unit} and the batch {batch_size}: both must be ≥ 1")
        self.seed, self.budget, self.batch_size = seed, budget, batch_size
        self.precision = precision
        self.fabric = Fabric(accelerator=device, devices=1, precision=precision)
        self.dtype = torch.float64 if precision == "64-true" else torch.float32
        self.store = MemoryStore() if store is None else store
        self.augment = tuple(augment)
        self.checkpoint_seconds = checkpoint_seconds
        self.report_progress = report_progress or (lambda stage, progress: None)
        self.ledger = Ledger()
        self.fits: dict[str, Fit] = {}
        self._in_stages = 0.0

    @property
    def device(self) -> torch.device:
        """Where models and rows live while training."""
        return self.fabric.device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision context of a forward pass."""
        return self.fabric.autocast()

    def rng(self, name: str) -> torch.Generator:
        """A CPU generator for this name, independent of every other."""
        return torch_rng(self.seed, name)

    def numpy_rng(self, name: str) -> np.random.Generator:
        """A NumPy generator for this name, independent of every other."""
        return numpy_rng(self.seed, name)

    @contextlib.contextmanager
    def randomness(self, name: str) -> Iterator[None]:
        """Run a block under torch's global generators seeded by name; they are restored afterwards."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_for(self.seed, name))
            yield

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Charge the ledger with the time of a block that stages do not account for."""
        started, before = time.monotonic(), self._in_stages
        yield
        self.ledger.seconds["outside"] = time.monotonic() - started - (self._in_stages - before)

    def build(self, method: Method, view: TrainingView, base: nn.Module | None = None) -> nn.Module:
        """The method's architecture around ``base``, with initial weights that depend on nothing but the seed."""
        with self.randomness("initial weights"):
            return method.build(view, base=base)

    def fit(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        view: TrainingView,
        step: Step,
        *,
        stage: str = "main",
        source: Source | None = None,
        budget: Budget | None = None,
        select: Literal["last"] | int | SelectionRule = "last",
        keep: LogSchedule = LogSchedule(),  # noqa: B008  # frozen
    ) -> Fit:
        """Train until the budget is spent; a finished stage of this name is restored and not run again.

        Args:
            model: The model, or several by name with the main one under ``model``; trained in place.
            view: The rows.
            step: What an update does.
            stage: Unique among the stages of a method.
            source: Batches; by default the same number of training rows from each environment.
            budget: The trainer's by default.
            select: Whose weights the models end with: ``last``, a kept step, or a rule applied to the selection rows.
            keep: Which weights to keep.

        Raises:
            Diverged: The loss is not finite.
        """
        if stage in self.fits:
            raise ValueError(f"stage {stage!r} was fitted already: stages of a method have unique names")
        models = dict(model) if isinstance(model, Mapping) else {"model": model}
        for module in models.values():
            module.to(device=self.device, dtype=self.dtype)
        batches = self._augmented(source or self.source(view, stage), stage)
        loop = _Loop(self, models, view, step, stage, batches, budget or self.budget, keep)
        with contextlib.closing(step), self.randomness(f"stage {stage}"):
            loop.run()
        self.ledger.add(loop.ledger)
        self._in_stages += loop.seconds
        fit = self._selected(loop, models, view, select)
        self.fits[stage] = fit
        return fit

    def source(self, view: TrainingView, stage: str) -> Source:
        """The usual batches of a stage."""
        return self.rows(view, usual_sampler(view, stage, self.seed, self.batch_size))

    def _augmented(self, source: Source, stage: str) -> Source:
        return Augmented(source, self.augment, self.rng(f"augmentation {stage}")) if self.augment else source

    def rows(self, view: TrainingView, sampler: Any) -> Source:
        """Batches of the training rows on this trainer's device and in its precision, as a sampler names them."""
        return Rows(self.place(view.train), sampler)

    def place(self, data: Any) -> Any:
        """A data set on this trainer's device and in its precision."""
        return data.to(self.device, self.dtype)

    def _selected(self, loop: _Loop, models: Mapping[str, nn.Module], view: TrainingView, select: Any) -> Fit:
        chosen = loop.done
        records: tuple[Record, ...] = ()
        if isinstance(select, int):
            if select not in loop.kept:
                raise UserError(f"step {select} was not kept: there are {', '.join(map(str, loop.kept))}")
            chosen = select
        elif isinstance(select, SelectionRule) and select.role is not None:
            records = self.records(loop.load, loop.kept, models["model"], view, select.role)
            chosen = select.choose(records)
        for name, module in models.items():
            module.load_state_dict(loop.load(chosen)[name])
        return Fit(models, loop.done, tuple(loop.kept), tuple(loop.history), chosen, loop.load, loop.ledger, records)

    def records(
        self,
        load: Callable[[int], Mapping[str, Mapping[str, Tensor]]],
        kept: Sequence[int],
        model: nn.Module,
        view: TrainingView,
        role: Role,
    ) -> tuple[Record, ...]:
        """Scores of kept weights on the rows of a role; the model is moved through them."""
        data = view.role(role).to("cpu", self.dtype)
        records: list[Record] = []
        for step in kept:
            model.load_state_dict(load(step)["model"])
            records += record(step, forward(model, data), role, role, data, view.kind)
        return tuple(records)


def usual_sampler(view: TrainingView, stage: str, seed: int, batch_size: int) -> EnvironmentSampler:
    """The rows of a stage: as many from each environment, or from 16 of them, at every step."""
    return EnvironmentSampler(view.train.environment.codes, batch_size, torch_rng(seed, f"batches {stage}"))


class _Loop:
    """One stage while it runs: everything that a full checkpoint holds, and the seconds spent in this process."""

    def __init__(
        self,
        trainer: Trainer,
        models: dict[str, nn.Module],
        view: TrainingView,
        step: Step,
        stage: str,
        source: Source,
        budget: Budget,
        keep: LogSchedule,
    ) -> None:
        self.trainer, self.models, self.step, self.stage = trainer, models, step, stage
        self.source, self.budget, self.keep = source, budget, keep
        self.optimizers = step.setup(models, view, trainer)
        self.done = self.spent = 0
        self.kept: list[int] = []
        self.history: list[Scalars] = []
        self.ledger = Ledger()
        self.seconds = 0.0
        self._pending: list[tuple[int, Mapping[str, Tensor]]] = []
        self._checkpointed = -1

    def run(self) -> None:
        """Train from the last full checkpoint, or from the start, to the end of the budget."""
        if not self._restore():
            self._keep_weights()
        self._started = self._saved = self._shown = time.monotonic()
        for module in self.models.values():
            module.train()
        while self.spent < self.budget.amount:
            self._update()
            self._now_and_then()
        if self.done not in self.kept or self.done != self._checkpointed:
            self._finish()

    def load(self, step: int) -> Mapping[str, Mapping[str, Tensor]]:
        """Kept weights of all models after ``step`` updates."""
        weights = self.trainer.store.load(self.stage, f"step-{step:08d}")
        if weights is None:
            raise UserError(
                f"the weights of step {step} in stage {self.stage!r} are gone: remove its checkpoints and run again"
            )
        return cast(Mapping[str, Mapping[str, Tensor]], weights)

    def _update(self) -> None:
        batch = self.source.next_batch()
        scalars = self.step(self.models, batch, self.optimizers, self.spent / self.budget.amount)
        self.done += 1
        before, self.spent = self._point(), self.spent + self.budget.cost(batch)
        self.ledger.forwards += len(batch)
        self.ledger.gradients += len(batch) * self.step.passes
        if self._point() > before or self.done == 1:
            self._pending.append((self.done, scalars))

    def _point(self) -> int:
        """How many points of the history are due by now."""
        return self.spent * _HISTORY_POINTS // self.budget.amount

    def _now_and_then(self) -> None:
        if self.done in self.keep:
            self._keep_weights()
        now = time.monotonic()
        if now - self._shown > 0.1:
            self._shown = now
            self.trainer.report_progress(self.stage, min(1.0, self.spent / self.budget.amount))
        if now - self._saved >= self.trainer.checkpoint_seconds:
            self._save()

    def _keep_weights(self) -> None:
        self.trainer.store.save(self.stage, f"step-{self.done:08d}", _copies(self.models))
        self.kept.append(self.done)

    def _finish(self) -> None:
        if self.done not in self.kept:
            self._keep_weights()
        self._save()
        self.trainer.report_progress(self.stage, 1.0)

    def _save(self) -> None:
        """A full checkpoint: what it takes to go on bit by bit as if nothing had happened."""
        self._write_history()
        now = time.monotonic()
        passed, self._started, self._saved = now - self._started, now, now
        self.seconds += passed
        self.ledger.seconds[self.stage] = self.ledger.seconds.get(self.stage, 0.0) + passed
        self.ledger.steps = self.done
        tree = {
            "models": _copies(self.models),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "step": self.step.state_dict(),
            "source": self.source.state_dict(),
            "random": _random_state(self.trainer.device),
            "progress": {"done": self.done, "spent": self.spent, "kept": list(self.kept)},
            "history": list(self.history),
            "ledger": self.ledger.as_dict(),
        }
        self.trainer.store.save(self.stage, "checkpoint", _clones(tree))
        self._checkpointed = self.done

    def _restore(self) -> bool:
        tree = _clones(self.trainer.store.load(self.stage, "checkpoint"))
        if tree is None:
            return False
        for name, module in self.models.items():
            module.load_state_dict(tree["models"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(tree["optimizers"][name])
        self.step.load_state_dict(tree["step"])
        self.source.load_state_dict(tree["source"])
        _set_random_state(tree["random"], self.trainer.device)
        self.done, self.spent, self.kept = (tree["progress"][key] for key in ("done", "spent", "kept"))
        self.kept, self.history = list(self.kept), list(tree["history"])
        self.ledger, self._checkpointed = Ledger(**tree["ledger"]), self.done
        return True

    def _write_history(self) -> None:
        for step, scalars in self._pending:
            values = {name: float(value) for name, value in scalars.items()}
            if not math.isfinite(values.get("loss", 0.0)):
                raise Diverged(f"the loss is not finite at step {step}: lower the learning rate (optimizer.lr)")
            self.history.append({"step": step, **values})
        self._pending.clear()


def _copies(models: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {name: {k: v.detach().cpu().clone() for k, v in m.state_dict().items()} for name, m in models.items()}


@functools.singledispatch
def _clones(tree: Any) -> Any:
    """The same tree with copies of its tensors, so that training on does not change a checkpoint in memory."""
    return tree


@_clones.register
def _(tree: Tensor) -> Tensor:
    return tree.detach().clone()


@_clones.register
def _(tree: dict) -> Any:  # type: ignore[type-arg]
    return {key: _clones(value) for key, value in tree.items()}


@_clones.register(list)
@_clones.register(tuple)
def _(tree: Any) -> Any:
    return type(tree)(_clones(item) for item in tree)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states if device.type != "cuda" else {**states, "cuda": torch.cuda.get_rng_state(device)}


def _set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
