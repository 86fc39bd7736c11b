"""How alike classifiers are: closed forms, loops in float64, invariances, and gradients of certain heads."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from holdfast.losses.diversity import (
    disagreement_loss,
    dispute,
    divergence_from_prior,
    mean_mutual_information,
    mutual_information,
)

SEEDS = st.integers(0, 10_000)


def some(*shape: int, seed: int, sharpness: float = 2.0) -> Tensor:
    """Random probabilities over the last dimension."""
    rng = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(*shape, generator=rng, dtype=torch.float64)).softmax(-1)


def by_loops(p: Tensor, q: Tensor, weight: list[float]) -> float:
    """The definition of mutual information, entry by entry."""
    B, C, K = len(p), p.shape[1], q.shape[1]
    share = [w / sum(weight) for w in weight]
    joint = [[sum(share[b] * float(p[b, c]) * float(q[b, k]) for b in range(B)) for k in range(K)] for c in range(C)]
    total = 0.0
    for c, k in itertools.product(range(C), range(K)):
        row, column = sum(joint[c]), sum(joint[i][k] for i in range(C))
        total += joint[c][k] * math.log(joint[c][k] / (row * column)) if joint[c][k] else 0.0
    return total


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 9), st.integers(2, 4), st.integers(2, 4))
def test_mutual_information_is_the_definition(seed: int, rows: int, C: int, K: int) -> None:
    p, q = some(rows, C, seed=seed), some(rows, K, seed=seed + 1)
    weight = torch.rand(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    assert mutual_information(p, q).item() == pytest.approx(by_loops(p, q, [1.0] * rows), abs=1e-12)
    assert mutual_information(p, q, weight).item() == pytest.approx(by_loops(p, q, weight.tolist()), abs=1e-12)


@given(SEEDS)
def test_mutual_information_is_symmetric_and_not_negative(seed: int) -> None:
    p, q = some(12, 3, seed=seed), some(12, 4, seed=seed + 1)
    forth = mutual_information(p, q)
    torch.testing.assert_close(forth, mutual_information(q, p))
    torch.testing.assert_close(forth, mutual_information(p[:, [2, 0, 1]], q))
    assert forth >= -1e-12


def test_independent_heads_share_nothing_and_equal_ones_their_entropy() -> None:
    rows = torch.tensor(list(itertools.product(range(3), range(4))))
    first, second = (torch.eye(n, dtype=torch.float64)[rows[:, i]] for i, n in enumerate((3, 4)))
    assert mutual_information(first, second).item() == pytest.approx(0, abs=1e-12)
    assert mutual_information(first, first).item() == pytest.approx(math.log(3), abs=1e-12)
    assert mutual_information(second, second).item() == pytest.approx(math.log(4), abs=1e-12)
    skewed = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 0, 0, 1])]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert mutual_information(skewed, skewed).item() == pytest.approx(entropy, abs=1e-12)


def test_a_head_that_says_the_same_of_all_rows_shares_nothing() -> None:
    constant = some(1, 3, seed=0).expand(8, 3)
    assert mutual_information(some(8, 3, seed=1), constant).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_heads_have_finite_gradients(dtype: torch.dtype) -> None:
    logits = torch.tensor([[400.0, -400.0, 0.0], [-400.0, 400.0, 0.0]], dtype=dtype, requires_grad=True)
    probabilities = torch.stack([logits.softmax(1), logits.flip(0).softmax(1)])
    loss = mean_mutual_information(probabilities) + divergence_from_prior(
        probabilities[0], torch.tensor([1.0, 0.0, 0.0], dtype=dtype)
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_rows_of_weight_zero_do_not_count() -> None:
    p = some(2, 6, 3, seed=3)
    weight = torch.tensor([1.0, 1, 0, 1, 0, 1], dtype=torch.float64)
    kept = p[:, weight > 0]
    torch.testing.assert_close(mean_mutual_information(p, weight), mean_mutual_information(kept))
    prior = some(3, seed=4)
    torch.testing.assert_close(divergence_from_prior(p[0], prior, weight), divergence_from_prior(kept[0], prior))


def test_the_mean_over_pairs_of_three_heads() -> None:
    p = some(3, 7, 4, seed=5)
    pairs = [mutual_information(p[i], p[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(mean_mutual_information(p), sum(pairs) / 3)


@given(SEEDS)
def test_divergence_from_the_prior_is_that_of_the_mean(seed: int) -> None:
    p, prior = some(9, 4, seed=seed), some(4, seed=seed + 1)
    mean = p.mean(0)
    expected = torch.nn.functional.kl_div(prior.log(), mean, reduction="sum")
    torch.testing.assert_close(divergence_from_prior(p, prior), expected)
    assert divergence_from_prior(prior.expand(5, 4), prior).item() == pytest.approx(0, abs=1e-12)


@given(SEEDS)
def test_disagreement_is_the_formula_of_the_known_models_class(seed: int) -> None:
    known, fresh = some(6, 4, seed=seed), some(6, 4, seed=seed + 1)
    for row, loss in enumerate(disagreement_loss(known, fresh).tolist()):
        p = max(known[row].tolist())
        q = float(fresh[row, known[row].tolist().index(p)])
        assert loss == pytest.approx(-math.log(p * (1 - q) + q * (1 - p) + 1e-7))


def test_disagreement_trains_the_new_model_only_and_away_from_the_known_one() -> None:
    known = torch.tensor([[0.9, 0.05, 0.05]], requires_grad=True)
    fresh = torch.full((1, 3), 1 / 3, requires_grad=True)
    disagreement_loss(known, fresh).sum().backward()
    assert known.grad is None
    assert fresh.grad is not None
    assert fresh.grad[0, 0] > 0
    assert (fresh.grad[0, 1:] == 0).all()


def test_a_model_in_doubt_asks_for_no_contradiction() -> None:
    known = torch.full((1, 2), 0.5)
    losses = [disagreement_loss(known, torch.tensor([[q, 1 - q]])).item() for q in (0.0, 0.3, 1.0)]
    assert losses == pytest.approx([math.log(2)] * 3, abs=1e-5)


def test_dispute_is_the_mean_distance_of_pairs() -> None:
    p = some(3, 5, 4, seed=7)
    for row in range(5):
        expected = sum(float((p[i, row] - p[j, row]).abs().sum()) for i, j in ((0, 1), (0, 2), (1, 2))) / 3
        assert dispute(p)[row].item() == pytest.approx(expected)
