"""The method and-adam: batches of one environment, and Adam where nothing is masked."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from holdfast import training
from holdfast.core.data import Batch, Column
from holdfast.core.ledger import Ledger
from holdfast.core.task import TaskData, training_view
from holdfast.methods.and_adam import AndAdam
from holdfast.methods.erm import ERM
from holdfast.testing import toy_task
from holdfast.training import Adam, Budget, GradientStep, Trainer


def trained(method: AndAdam | ERM, task: TaskData, steps: int = 30) -> list[torch.Tensor]:
    trainer = Trainer(budget=Budget(steps), batch_size=24, precision="64-true")
    return [p.detach() for p in method.fit(training_view(task, method.needs(), Ledger()), trainer).parameters()]


def in_one_environment() -> TaskData:
    task = toy_task()
    splits = [
        dataclasses.replace(s, data=dataclasses.replace(s.data, environment=Column.constant(len(s.data))))
        for s in task.splits
    ]
    return dataclasses.replace(task, splits=tuple(splits))


def test_threshold_zero_and_one_environment_are_erm_with_adam() -> None:
    task = in_one_environment()
    plain = trained(ERM(optimizer=Adam(lr=1e-2)), task)
    cycling = trained(AndAdam(optimizer=training.AndAdam(lr=1e-2, threshold=0.0)), task)
    for a, b in zip(cycling, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_high_threshold_keeps_weights_where_they_were() -> None:
    start, masked, open_ = (
        trained(AndAdam(optimizer=training.AndAdam(threshold=t, beta3=0.999, lr=lr)), toy_task())
        for t, lr in ((1.0, 0.0), (1.0, 1e-2), (0.0, 1e-2))
    )
    assert all(torch.equal(a, b) for a, b in zip(start, masked, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(start, open_, strict=True))


def test_each_batch_is_of_one_environment_and_all_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    forward = GradientStep.forward

    def watch(self: GradientStep, models: object, batch: Batch, *more: object) -> object:
        seen.append(batch.environment.tolist())
        return forward(self, models, batch, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(GradientStep, "forward", watch)
    trained(AndAdam(), toy_task(), steps=12)
    assert all(len(set(codes)) == 1 and len(codes) == 24 for codes in seen)
    turns = [codes[0] for codes in seen]
    assert all(sorted(turns[k : k + 3]) == [0, 1, 2] for k in range(0, 12, 3))
