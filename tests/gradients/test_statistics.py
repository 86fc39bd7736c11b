from __future__ import annotations

import functools
import operator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gradients import Stat, Stats

EVERY = frozenset(Stat)


def gradients(environments: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """(E, *shape) float64, a fifth of them exactly zero."""
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(environments, *shape, generator=rng, dtype=torch.float64)
    return values * (torch.rand(values.shape, generator=rng) > 0.2)


def added(g: torch.Tensor, needs: frozenset[Stat] = EVERY) -> Stats:
    return functools.reduce(operator.add, (Stats.of(row, needs) for row in g))


@given(st.integers(1, 6), st.lists(st.integers(1, 4), max_size=3), st.integers(0, 10_000))
def test_sums_over_environments(environments: int, shape: list[int], seed: int) -> None:
    g = gradients(environments, tuple(shape), seed)
    stats = added(g)
    assert stats.environments == environments
    torch.testing.assert_close(stats.sum, g.sum(0))
    torch.testing.assert_close(stats.square, (g**2).sum(0))
    assert torch.equal(stats.sign, g.sign().sum(0).int())
    assert torch.equal(stats.nonzero, (g != 0).sum(0).int())
    logs = [[x.abs().log().item() for x in component if x != 0] for component in g.reshape(environments, -1).T]
    torch.testing.assert_close(stats.log.flatten(), torch.tensor(list(map(sum, logs)), dtype=torch.float64))


def test_addition_does_not_care_for_order_or_brackets() -> None:
    g = gradients(5, (3, 2), 0)
    left, right = added(g[:2]), added(g[2:])
    for stats in (left + right, right + left):
        torch.testing.assert_close(stats.log, added(g).log)
        assert torch.equal(stats.sign, added(g).sign)


@pytest.mark.parametrize("need", list(Stat))
def test_only_what_is_asked_for_is_there(need: Stat) -> None:
    stats = added(gradients(3, (4,), 0), frozenset({need}))
    present = {name for name in ("sign", "square", "log", "nonzero") if getattr(stats, name) is not None}
    assert present == ({"log", "nonzero"} if need == Stat.LOG else {need.value})
