"""Killed at any step and resumed from any checkpoint before it, a stage ends with the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.errors import UserError
from holdfast.core.ledger import Ledger
from holdfast.core.per_example import PerExample
from holdfast.core.task import Needs, TrainingView, training_view
from holdfast.gradients import Aggregated, AndMask, Stats
from holdfast.losses import ExponentiatedGroups, InvariantRisk, VarianceOfRisks
from holdfast.models.mlp import MLP
from holdfast.selection import BalancedSampler
from holdfast.testing import toy_task
from holdfast.training import (
    SGD,
    AdamW,
    Budget,
    Fit,
    FolderStore,
    GradientStep,
    MemoryStore,
    Schedule,
    StepContext,
    Trainer,
)
from holdfast.training.stages import StageStore

STEPS = 14
TASK = toy_task(model=MLP(hidden=(5,), dropout=0.3))


class MovingAverage:
    """An aggregator with state: it follows the mean gradient slowly."""

    needs: frozenset = frozenset()

    def __call__(self, stats: Mapping[str, Stats], state: Mapping[str, Any]) -> Aggregated:
        average = {name: 0.5 * s.sum + 0.5 * state.get(name, torch.zeros(())) for name, s in stats.items()}
        return Aggregated(average, state=average)


class Remembering(nn.Module):
    """A penalty with state by row, a parameter and a random number: losses should not rise."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = PerExample(400)
        self.slack = nn.Parameter(torch.ones(()))

    def forward(self, context: StepContext) -> Tensor:
        before = self.memory.read(context.batch.index)
        self.memory.write(context.batch.index, context.losses)
        return (context.losses - before - self.slack * torch.rand(())).relu().mean() + self.slack.square()


class Rivals(nn.Module):
    """A step of two models with an optimizer each, which is not a GradientStep."""

    passes = 2

    def setup(self, models: Any, view: TrainingView, trainer: Trainer) -> Any:
        return {name: SGD(momentum=0.9).build([{"params": list(m.parameters())}]) for name, m in models.items()}

    def forward(self, models: Any, batch: Batch, optimizers: Any, progress: float) -> Mapping[str, Tensor]:
        first, second = (models[name](batch.x).log_softmax(1) for name in ("model", "rival"))
        loss = nn.functional.nll_loss(first, batch.labels) + nn.functional.nll_loss(second, batch.labels)
        total = loss - 0.1 * (first - second).square().mean()
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        total.backward()
        for optimizer in optimizers.values():
            optimizer.step()
        return {"loss": loss.detach()}

    def close(self) -> None:
        pass


PENALTIES = [(1.0, VarianceOfRisks()), (0.5, InvariantRisk())]
MAKE: dict[str, Callable[[], Any]] = {
    "adam and dropout": GradientStep,
    "momentum and schedule": lambda: GradientStep(optimizer=SGD(momentum=0.9, drops=(0.4, 0.7), decay=0.98)),
    "group-dro": lambda: GradientStep(risk=ExponentiatedGroups(4, step_size=0.5)),
    "penalties that switch on": lambda: GradientStep(penalties=PENALTIES, schedule=Schedule(penalty_from=0.5)),
    "mask, penalties and L1": lambda: GradientStep(
        aggregator=AndMask(0.5), penalties=PENALTIES, optimizer=AdamW(l1=1e-3)
    ),
    "an aggregator with state": lambda: GradientStep(aggregator=MovingAverage()),
    "state by row": lambda: GradientStep(penalties=[(1.0, Remembering())]),
    "two models": Rivals,
}


class Killed(BaseException):
    """Stands for the end of the process."""


class Mortal:
    """A step that dies before a given update."""

    def __init__(self, step: Any, at: int) -> None:
        self.step, self.at, self.made = step, at, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.step, name)

    def __call__(self, *arguments: Any) -> Any:
        if self.made == self.at:
            raise Killed
        self.made += 1
        return self.step(*arguments)


class Sparse:
    """A store that keeps full checkpoints at one step and at the end only, as if time had passed then."""

    def __init__(self, store: StageStore, at: int) -> None:
        self.store, self.at = store, at

    def save(self, stage: str, kind: str, tree: Any) -> None:
        if kind != "checkpoint" or tree["progress"]["done"] in (self.at, STEPS):
            self.store.save(stage, kind, tree)

    def load(self, stage: str, kind: str) -> Any | None:
        return self.store.load(stage, kind)


def models(step: Any) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    names = ["model", "rival"] if isinstance(step, Rivals) else ["model"]
    return {name: TASK.model.build((6,), 3) for name in names}


def fit(make: Callable[[], Any], store: StageStore, *, die_at: int = -1, balanced: bool = False) -> tuple[Fit, Ledger]:
    view = training_view(TASK, Needs(), Ledger())
    step = make()
    trainer = Trainer(budget=Budget(STEPS), batch_size=12, store=store, checkpoint_seconds=0)
    sampler = BalancedSampler(view.train.environment.codes, 12, trainer.rng("balanced"))
    source = trainer.rows(view, sampler) if balanced else None
    result = trainer.fit(models(step), view, Mortal(step, die_at), source=source)
    return result, trainer.ledger


def everything(found: tuple[Fit, Ledger]) -> dict[str, Any]:
    result, ledger = found
    weights = {(step, name): result.weights_at(step, name) for step in result.kept for name in result.models}
    final = {name: model.state_dict() for name, model in result.models.items()}
    costs = {name: value for name, value in ledger.as_dict().items() if name != "seconds"}
    flat = {
        (key, name): tensor.tolist() for key, ws in [*weights.items(), *final.items()] for name, tensor in ws.items()
    }
    return {"weights": flat, "history": result.history, "costs": costs, "kept": result.kept}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
@given(checkpoint=st.integers(1, STEPS - 1), more=st.integers(0, STEPS - 1))
@hypothesis.settings(max_examples=3)
def test_a_killed_stage_ends_with_the_same_bits(
    make: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory, checkpoint: int, more: int
) -> None:
    whole = everything(fit(make, MemoryStore()))
    store = Sparse(FolderStore(tmp_path_factory.mktemp("stage")), checkpoint)
    with pytest.raises(Killed):
        fit(make, store, die_at=min(checkpoint + more, STEPS - 1))
    assert everything(fit(make, store)) == whole


def test_killed_again_and_again() -> None:
    store = MemoryStore()
    for updates in (1, 3, 2, 5):
        with pytest.raises(Killed):
            fit(GradientStep, store, die_at=updates, balanced=True)
    assert everything(fit(GradientStep, store, balanced=True)) == everything(
        fit(GradientStep, MemoryStore(), balanced=True)
    )


@pytest.mark.parametrize("make", [MAKE["momentum and schedule"], MAKE["group-dro"]])
def test_a_checkpoint_in_memory_does_not_move_with_the_training(make: Callable[[], Any]) -> None:
    """Neither after it was made nor after it was read."""
    store = Sparse(MemoryStore(), 5)
    for updates in (9, 3):
        with pytest.raises(Killed):
            fit(make, store, die_at=updates)
    assert everything(fit(make, store)) == everything(fit(make, MemoryStore()))


class Slow:
    """A step that takes a hundredth of a second at least."""

    def __init__(self, step: Any) -> None:
        self.step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.step, name)

    def __call__(self, *arguments: Any) -> Any:
        time.sleep(0.01)
        return self.step(*arguments)


def test_the_seconds_before_a_kill_are_kept() -> None:
    store, started = MemoryStore(), time.monotonic()
    with pytest.raises(Killed):
        fit(lambda: Slow(GradientStep()), store, die_at=10)
    _, ledger = fit(lambda: Slow(GradientStep()), store)
    assert STEPS * 0.01 <= ledger.seconds["main"] <= time.monotonic() - started


def test_seconds_outside_of_stages_are_counted_once() -> None:
    trainer = Trainer(budget=Budget(4), batch_size=12)
    view = training_view(TASK, Needs(), Ledger())
    started = time.monotonic()
    with trainer.timed():
        time.sleep(0.1)
        for stage in ("one", "two"):
            trainer.fit(models(GradientStep()), view, Slow(GradientStep()), stage=stage)
    passed, seconds = time.monotonic() - started, trainer.ledger.seconds
    assert list(seconds) == ["one", "two", "outside"]
    assert seconds["outside"] >= 0.1
    assert seconds["one"] >= 0.04
    assert sum(seconds.values()) == pytest.approx(passed, abs=0.01)


def test_resuming_is_not_starting_over(tmp_path: Path) -> None:
    """Of 14 updates those before the checkpoint are not made again."""
    store = Sparse(FolderStore(tmp_path), 9)
    with pytest.raises(Killed):
        fit(GradientStep, store, die_at=11)
    with pytest.raises(Killed):
        fit(GradientStep, store, die_at=4)
    fit(GradientStep, store, die_at=5)


def test_a_kept_weight_that_was_removed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(GradientStep, FolderStore(tmp_path), die_at=8)
    (tmp_path / "main" / "step-00000002.safetensors").unlink()
    resumed, _ = fit(GradientStep, FolderStore(tmp_path))
    with pytest.raises(UserError, match="weights of step 2 in stage 'main' are gone: remove its checkpoints"):
        resumed.at(2)
