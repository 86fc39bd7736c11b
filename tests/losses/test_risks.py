from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.losses import ExponentiatedGroups, MeanOfEnvironments, PooledMean, environment_means
from holdfast.losses.environments import EnvironmentLosses


def of(values: list[float], codes: list[int]) -> EnvironmentLosses:
    v = torch.tensor(values, dtype=torch.float64)
    return EnvironmentLosses(v, torch.tensor(codes), torch.full_like(v, 1 / len(v)))


@given(st.integers(1, 20), st.integers(0, 10_000))
def test_the_pooled_mean_is_the_mean_over_rows(n: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    losses = torch.randn(n, generator=rng, dtype=torch.float64)
    environment = torch.randint(4, (n,), generator=rng)
    torch.testing.assert_close(PooledMean()(environment_means(losses, environment)), losses.mean())


def test_the_mean_of_environments_does_not_count_rows() -> None:
    means = environment_means(torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([0, 0, 0, 1]))
    assert float(MeanOfEnvironments()(means)) == 3
    assert float(PooledMean()(means)) == 2


def iterate_by_hand(q: np.ndarray, losses: dict[int, float], step_size: float) -> float:
    """One update of q in place, absent groups keeping their share; returns the risk."""
    present = list(losses)
    grown = np.array([q[g] * np.exp(step_size * losses[g]) for g in present])
    q[present] = grown * q[present].sum() / grown.sum()
    return float(sum(q[g] * losses[g] for g in present) / q[present].sum())


def test_group_dro_iterates_as_by_hand_also_with_groups_absent() -> None:
    rng = np.random.default_rng(0)
    risk, q = ExponentiatedGroups(4, step_size=0.3).double(), np.full(5, 0.2)
    for _ in range(30):
        present = sorted(rng.choice(4, size=rng.integers(1, 5), replace=False).tolist())
        losses = {g: float(rng.exponential()) for g in present}
        expected = iterate_by_hand(q, losses, 0.3)
        assert float(risk(of(list(losses.values()), present))) == pytest.approx(expected)
        np.testing.assert_allclose(risk.log_q.exp(), q)


def test_absent_groups_keep_their_share_and_unknown_is_a_group_of_its_own() -> None:
    risk = ExponentiatedGroups(3).double()
    risk(of([1.0, 2.0, 9.0], [0, 1, -1]))
    q = risk.log_q.exp()
    assert float(q[2]) == pytest.approx(1 / 4)
    assert float(q.sum()) == pytest.approx(1)
    assert q[3] > q[1] > q[0]


def test_no_gradient_flows_through_the_weights() -> None:
    risk, losses = ExponentiatedGroups(2, step_size=1.0).double(), of([1.0, 2.0], [0, 1])
    values = losses.values.requires_grad_()
    (gradient,) = torch.autograd.grad(risk(losses), values)
    q = risk.log_q.exp()[:2]
    torch.testing.assert_close(gradient, q / q.sum())


def test_huge_losses_neither_overflow_nor_end_a_group() -> None:
    risk = ExponentiatedGroups(2, step_size=0.01)
    assert float(risk(of([1e9, 0.0], [0, 1]))) == pytest.approx(1e9)
    assert float(risk(of([0.0, 2e9], [0, 1]))) == pytest.approx(2e9)
    assert torch.isfinite(risk.log_q).all()


def test_weights_are_part_of_the_state() -> None:
    risk, again = ExponentiatedGroups(2), ExponentiatedGroups(2)
    risk(of([1.0, 3.0], [0, 1]))
    again.load_state_dict(risk.state_dict())
    assert torch.equal(risk.log_q, again.log_q)
    assert not torch.equal(risk.log_q, ExponentiatedGroups(2).log_q)
