"""The contract of methods finds the breach: each breaks one contract, and that one only has to say so."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.method import Method
from holdfast.core.task import TaskData, TrainingView
from holdfast.methods.erm import ERM
from holdfast.testing import check_method, methods, toy_task
from holdfast.testing.methods import MethodContract
from holdfast.training import GradientStep, StepContext, Trainer


@dataclass(frozen=True, kw_only=True)
class Base(Method):
    """What the breaches have in common: the name, and a training that is fine."""

    name = "broken"

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        return trainer.fit(trainer.build(self, view, model), view, self.step()).model

    def step(self) -> Any:
        return GradientStep()


class InitialWeightsFromTheGlobalGenerator(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        return trainer.fit(self.build(view, model), view, self.step()).model


class DrawsFromNumpy(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = super().fit(view, trainer, model)
        network.head.bias.data += float(np.random.rand())  # noqa: NPY002
        return network


class DrawsFromPython(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = super().fit(view, trainer, model)
        network.head.bias.data += random.random()
        return network


class TheSameForEverySeed(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        trainer.seed = 0
        return super().fit(view, trainer, model)


class HiddenState(Base):
    """A penalty with a counter that is not in its state."""

    def step(self) -> Any:
        class Counting:
            calls = 0

            def __call__(self, context: StepContext) -> Tensor:
                self.calls += 1
                return self.calls * context.losses.mean()

        return GradientStep(penalties=[(1.0, Counting())])


class ForgetsItsStreams(Base):
    """A source of batches without a place in its stream."""

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        data, rng = view.train, trainer.rng("own")

        class Forgetful:
            def next_batch(self) -> Batch:
                return data.batch(torch.randint(len(data), (8,), generator=rng))

            def state_dict(self) -> dict[str, Any]:
                return {}

            def load_state_dict(self, state: dict[str, Any]) -> None:
                pass

        return trainer.fit(trainer.build(self, view, model), view, self.step(), source=Forgetful()).model


class WorksOutsideItsWeights(Base):
    """The bias of the head is scaled by a number that no checkpoint holds."""

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = super().fit(view, trainer, model)
        network.head.register_forward_hook(lambda module, inputs, output: 2 * output)
        return network


class ShapedByData(Base):
    def build(self, view: TrainingView, base: nn.Module | None = None) -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, len(view.train) // 8), nn.ReLU(), nn.Linear(len(view.train) // 8, view.outputs)
        )


class ChangesItsRows(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        view.train.x.sub_(view.train.x.mean(0))
        return super().fit(view, trainer, model)


class IgnoresWeights(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        rows = dataclasses.replace(view.train, weight=None)
        return super().fit(dataclasses.replace(view, data={"train": rows}), trainer, model)


class NeedsSeveralEnvironments(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = super().fit(view, trainer, model)
        first, second, *_ = view.train.environment.present()
        network.head.bias.data += first - second
        return network


class DividesByTheVarianceBetweenEnvironments(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = super().fit(view, trainer, model)
        network.head.bias.data /= view.train.environment.codes.double().var()
        return network


class NotFinite(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = super().fit(view, trainer, model)
        network.head.bias.data[0] = torch.nan
        return network


class ManyThreads(Base):
    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        torch.set_num_threads(2)
        return super().fit(view, trainer, model)


BREACHES: list[tuple[type[Method], MethodContract, str]] = [
    (InitialWeightsFromTheGlobalGenerator, methods.follows_the_seed, "from a global generator"),
    (DrawsFromNumpy, methods.follows_the_seed, "from a global generator"),
    (DrawsFromPython, methods.follows_the_seed, "from a global generator"),
    (TheSameForEverySeed, methods.differs_by_seed, "the same model for two seeds"),
    (HiddenState, methods.resumes, "some state is not in its checkpoints"),
    (ForgetsItsStreams, methods.resumes, "some state is not in its checkpoints"),
    (WorksOutsideItsWeights, methods.loads, "differs from the trained one"),
    (ChangesItsRows, methods.leaves_rows_alone, "changes the rows of train"),
    (IgnoresWeights, methods.honours_row_weights, "lets rows of weight zero count"),
    (NotFinite, methods.gives_outputs, "not finite"),
    (ManyThreads, methods.gives_outputs, "number of threads"),
]


@pytest.mark.parametrize(("method", "contract", "message"), BREACHES)
def test_a_breach_is_found(method: type[Method], contract: MethodContract, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        contract(method(), toy_task())


@pytest.mark.parametrize(
    ("method", "contract"),
    [
        (ShapedByData, methods.loads),
        (NeedsSeveralEnvironments, methods.takes_any_environments),
        (DividesByTheVarianceBetweenEnvironments, methods.takes_any_environments),
    ],
)
def test_a_method_that_breaks_down_is_found(method: type[Method], contract: MethodContract) -> None:
    with pytest.raises((Exception, AssertionError)):
        contract(method(), toy_task())


def test_the_example_without_a_breach_keeps_them_all() -> None:
    for contract in methods.METHOD_CONTRACTS:
        contract(Base(), toy_task())


class Leaky:
    """Ways to give a method more than it may have."""

    @staticmethod
    def beside(view: TrainingView, task: TaskData) -> TrainingView:
        object.__setattr__(view, "test", task.split("test").data.take(torch.arange(3)))
        return view

    @staticmethod
    def shared(view: TrainingView, task: TaskData) -> TrainingView:
        return dataclasses.replace(view, data={"train": task.split("train").data})

    @staticmethod
    def columns(view: TrainingView, task: TaskData) -> TrainingView:
        train = dataclasses.replace(view.train, environment=task.split("train").data.environment)
        return dataclasses.replace(view, data={"train": train})

    @staticmethod
    def in_double(view: TrainingView, task: TaskData) -> TrainingView:
        object.__setattr__(view, "hint", task.split("test").data.x[5:7].double())
        return view


@pytest.mark.parametrize("leak", ["beside", "shared", "columns", "in_double"])
def test_a_view_that_leads_to_test_rows_is_found(leak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = methods.training_view

    def leaking(task: TaskData, *arguments: Any) -> TrainingView:
        return getattr(Leaky, leak)(honest(task, *arguments), task)

    methods.cannot_reach_test_rows(ERM(), toy_task())
    monkeypatch.setattr(methods, "training_view", leaking)
    with pytest.raises(AssertionError, match=r"is given memory of the task|can reach a test row"):
        methods.cannot_reach_test_rows(ERM(), toy_task())


def test_a_method_is_checked_on_a_task_of_ones_own() -> None:
    check_method(ERM(), toy_task())
    with pytest.raises(AssertionError, match="number of threads"):
        check_method(ManyThreads(), toy_task("regression"))
