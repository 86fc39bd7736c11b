"""Budgets, schedules and keeping."""

from __future__ import annotations

import itertools

import pytest
import torch

from holdfast.core.data import Batch
from holdfast.training import SGD, Budget, LogSchedule, Schedule


def batch(x: object, rows: int) -> Batch:
    return Batch(x, None, torch.zeros(rows, dtype=torch.int64), {}, None, torch.arange(rows))


MASKED = {"ids": torch.zeros(2, 3), "attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0]])}


@pytest.mark.parametrize(
    ("unit", "x", "cost"),
    [
        ("steps", torch.zeros(2, 3), 1),
        ("examples", torch.zeros(2, 3), 2),
        ("tokens", torch.zeros(2, 3), 6),
        ("tokens", MASKED, 3),
        ("tokens", {"ids": torch.zeros(2, 3)}, 6),
    ],
)
def test_what_an_update_spends(unit: str, x: object, cost: int) -> None:
    assert Budget(10, unit).cost(batch(x, 2)) == cost


def test_the_learning_rate_drops_and_decays() -> None:
    optimizer = SGD(drops=(0.5, 0.75), drop_factor=0.1, decay=0.9)
    assert optimizer.lr_factor(0, 0.0) == 1
    assert optimizer.lr_factor(3, 0.49) == pytest.approx(0.9**3)
    assert optimizer.lr_factor(3, 0.5) == pytest.approx(0.1 * 0.9**3)
    assert optimizer.lr_factor(0, 0.9) == pytest.approx(0.01)


def test_penalties_switch_on() -> None:
    schedule = Schedule(penalty_from=0.25, penalty_before=0.01)
    assert [schedule.penalty_factor(p) for p in (0.0, 0.24, 0.25, 0.99)] == [0.01, 0.01, 1, 1]
    assert Schedule().penalty_factor(0.0) == 1


@pytest.mark.parametrize("per_doubling", [1, 2, 3, 5])
def test_kept_steps_are_the_rounded_powers(per_doubling: int) -> None:
    powers = {
        round(2 ** (k / per_doubling)) for k in itertools.takewhile(lambda k: k < 12 * per_doubling, itertools.count())
    }
    schedule = LogSchedule(per_doubling=per_doubling)
    assert {step for step in range(1, 4000) if step in schedule} == {p for p in powers if p < 4000}
    assert 0 in schedule
    assert -1 not in schedule
