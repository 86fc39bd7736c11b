"""The contracts of plug-ins, models, rules and tasks find the breach."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import torch
from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range
from holdfast.core.task import Model, Split, Task, TaskData
from holdfast.testing import check_model, check_plugin, check_rule, check_task, plugins, toy_task
from holdfast.training import Record, SelectionRule


class Undecorated(Method):
    """A method."""


@dataclass
class Mutable(Method):
    """A method."""


@dataclass(frozen=True)
class Undocumented(Method):
    strength: float = 1.0


@dataclass(frozen=True)
class Abrupt(Method):
    """no sentence"""


@dataclass(frozen=True)
class HalfDescribed(Method):
    """A method.

    Attributes:
        strength: How strong; not to be taken for weight.
    """

    strength: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True)
class Unhashable(Method):
    """A method.

    Attributes:
        what: Anything.
    """

    what: Any = frozenset({1})
    name = "unhashable"


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Undecorated, "no dataclass"),
        (Mutable, "can change"),
        (Undocumented, "no docstring"),
        (Abrupt, "does not begin with a sentence"),
        (HalfDescribed, "no entry for the options weight$"),
    ],
)
def test_a_plugin_with_a_breach_is_found(cls: type[Method], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_plugin(cls)


def test_options_that_json_cannot_hold_are_found() -> None:
    with pytest.raises(AssertionError, match="JSON cannot hold"):
        plugins.is_plain(Unhashable)


def test_options_that_are_read_back_as_others_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Rounded(Method):
        """A method.

        Attributes:
            rate: Drawn from a space.
        """

        rate: Annotated[float, Range(0.0), LogUniform(0.1, 1.0)] = 1.0

        @property
        def reference(self) -> str:
            return f"rounded:rate={self.rate:.2g}"

    Rounded.name = "rounded"
    monkeypatch.setattr(plugins, "create", lambda cls, text: Rounded(rate=float(text.partition("=")[2])))
    with pytest.raises(AssertionError, match="read back as"):
        plugins.reads_back(Rounded)


@dataclass(frozen=True)
class Odd(Model):
    """A model with a breach.

    Attributes:
        make: Makes the network from the number of inputs and outputs.
    """

    make: Callable[[int, int], nn.Module]
    name = "odd"

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) > 1:
            raise UserError("flat inputs only")
        return self.make(input_shape[0], outputs)


class Centred(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(0))


class Stuck(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).detach() + 0 * self.bias


class Noisy(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.offset = float(torch.rand(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.offset


class Single(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).float()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n, k: nn.Linear(n, k + 1), r"gives \(5, 4\), not \(5, 3\)"),
        (lambda n, k: nn.Sequential(nn.Linear(n, k), nn.Threshold(9.0, torch.inf)), "not finite"),
        (Single, "gives torch.float32 for torch.float64"),
        (Centred, "depends on the rest of its batch"),
        (Noisy, "state is not in its weights"),
        (Stuck, "no gradient reaches weight"),
    ],
)
def test_a_model_with_a_breach_is_found(make: Callable[[int, int], nn.Module], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_model(Odd(make))


def test_a_model_must_take_some_shape() -> None:
    with pytest.raises(AssertionError, match="none of the shapes"):
        check_model(Odd(nn.Linear), input_shapes=[(3, 8, 8)])
    check_model(Odd(nn.Linear))


class First(SelectionRule):
    name = "first"

    def choose(self, records: Sequence[Record]) -> int:
        return records[0].step


class Worst(SelectionRule):
    name = "worst"

    def merit(self, records: Sequence[Record]) -> tuple[float, float]:
        return -records[0].score, -records[0].loss


class ByScoreAlone(SelectionRule):
    name = "by-score-alone"

    def merit(self, records: Sequence[Record]) -> tuple[float, float]:
        return records[0].score, 0.0


@pytest.mark.parametrize(
    ("rule", "message"),
    [(First(), "were reversed"), (Worst(), "is better in every record"), (ByScoreAlone(), "the least loss")],
)
def test_a_rule_with_a_breach_is_found(rule: SelectionRule, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_rule(rule)


@dataclass(frozen=True)
class OddTask(Task):
    """The toy, changed.

    Attributes:
        change: What becomes of its data.
    """

    change: Callable[[TaskData], TaskData]
    name = "odd"
    reference = "odd"

    def load(self) -> TaskData:
        return self.change(toy_task())


def rows(task: TaskData, role: str, change: Callable[[Dataset], Dataset]) -> TaskData:
    splits = [dataclasses.replace(s, data=change(s.data)) if s.role == role else s for s in task.splits]
    return dataclasses.replace(task, splits=tuple(splits))


def replaced(role: str, **changes: Any) -> Callable[[TaskData], TaskData]:
    return lambda task: rows(task, role, lambda data: dataclasses.replace(data, **changes))


def without(role: str) -> Callable[[TaskData], TaskData]:
    return lambda task: dataclasses.replace(task, splits=tuple(s for s in task.splits if s.role != role))


def random_inputs(task: TaskData) -> TaskData:
    return rows(task, "train", lambda data: dataclasses.replace(data, x=torch.rand(96, 6)))


NAN = torch.full((96, 6), torch.nan)
BREACHES: dict[str, tuple[Callable[[TaskData], TaskData], str]] = {
    "random": (random_inputs, "other data when loaded again"),
    "no test": (without("test"), "no rows in role 'test'"),
    "empty": (lambda t: rows(t, "pool", lambda d: d.take(torch.arange(0))), "'pool' of odd is empty"),
    "ids": (replaced("train", index=torch.zeros(96, dtype=torch.int64)), "a row id twice"),
    "infinite": (replaced("train", x=torch.full((96, 6), torch.inf)), "inputs that are not finite"),
    "codes": (replaced("train", environment=Column(torch.arange(96), ("a", "b"))), "holds 95 and has 2 names"),
    "labels": (replaced("train", y=torch.full((96,), 3)), "holds 3 and has 3 names"),
    "unknown labels": (replaced("train", y=torch.full((96,), -1)), "unknown labels"),
    "weights": (replaced("train", weight=torch.full((96,), -1.0)), "negative weights"),
    "columns": (replaced("test", attributes={}), "the columns of split 'test' differ"),
    "kind": (lambda task: dataclasses.replace(task, kind="regression"), "targets are floating-point"),
    "question": (lambda task: dataclasses.replace(task, question=" "), "has no question"),
    "render": (
        lambda task: dataclasses.replace(task, render=lambda factors, noise: torch.rand(len(noise), 6)),
        "other rows from the same factors",
    ),
}


@pytest.mark.parametrize(("change", "message"), BREACHES.values(), ids=BREACHES)
def test_a_task_with_a_breach_is_found(
    change: Callable[[TaskData], TaskData], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = OddTask(change)
    monkeypatch.setattr("holdfast.testing.tasks.create", lambda base, reference: task)
    with pytest.raises(AssertionError, match=message):
        check_task(task)


def test_the_toy_itself_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("classification", "regression"):
        task = OddTask(lambda _, kind=kind: toy_task(kind))
        monkeypatch.setattr("holdfast.testing.tasks.create", lambda base, reference, task=task: task)
        check_task(task)


def test_the_toy_serves_any_role() -> None:
    roles = {split.role for split in toy_task().splits}
    assert roles == {"train", "selection", "holdout", "calibration", "unlabelled", "pool", "test"}
    assert all(isinstance(split, Split) for split in toy_task().splits)
