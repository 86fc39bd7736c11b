"""The level-set search against closed forms, linear programs and the network of the paper's appendix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from weight_networks import mlp, rows

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.losses.per_example import cross_entropy
from holdfast.weights import (
    Bound,
    Functional,
    Inconsistency,
    LossesByEnvironment,
    Objective,
    WeightTree,
    WithinEachWeight,
    WithinNorm,
    by_environment,
    level_set_search,
    quadratic_inconsistency,
    unflat,
)
from holdfast.weights.level_sets import LossesAt

FAR = WithinNorm(1e3)


def quadratics(matrices: Tensor, minimum: Tensor) -> LossesAt:
    return lambda weights: torch.einsum("eij,i,j->e", matrices, weights - minimum, weights - minimum) / 2


def definite(environments: int, size: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    roots = torch.randn(environments, size, size + 2, generator=rng, dtype=torch.float64)
    return roots @ roots.mT / size


def search(losses: LossesAt, start: Tensor, epsilon: float, bound: Bound, seed: int = 0) -> Inconsistency:
    return level_set_search(losses, start, epsilon=epsilon, bound=bound, rng=torch.Generator().manual_seed(seed))


def ones(size: int) -> Tensor:
    return torch.ones(size, dtype=torch.float64)


@pytest.mark.parametrize(("environments", "size", "seed"), [(2, 2, 0), (2, 2, 1), (3, 2, 2), (2, 5, 3), (3, 8, 4)])
def test_quadratics_reach_the_closed_form(environments: int, size: int, seed: int) -> None:
    matrices = definite(environments, size, seed)
    found = search(quadratics(matrices, ones(size)), ones(size), 0.01, FAR)
    exact = quadratic_inconsistency(matrices, 0.01)
    share = found.matrix / exact.matrix
    assert (share <= 1 + 1e-9).all()
    assert (share >= 0.993).all()
    assert found.pair == exact.pair
    assert found.value == found.matrix.max()


@pytest.mark.parametrize("small", [0.05, 0.01])
def test_the_ellipses_of_the_paper(small: float) -> None:
    matrices = torch.stack([torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ([small, 1.0], [1.0, small])])
    found = search(quadratics(matrices, ones(2)), ones(2), 0.01, FAR)
    assert found.value == pytest.approx(0.01 / small, rel=0.01)


def test_equal_losses_change_together() -> None:
    matrices = definite(1, 3, 0).expand(2, 3, 3)
    assert search(quadratics(matrices, ones(3)), ones(3), 0.01, FAR).value == pytest.approx(0.01, rel=0.002)


def test_losses_and_epsilon_times_a_constant() -> None:
    losses = quadratics(definite(2, 3, 1), ones(3))
    one = search(losses, ones(3), 0.01, FAR)
    scaled = search(lambda weights: 7 * losses(weights), ones(3), 0.07, FAR)
    np.testing.assert_allclose(scaled.matrix, 7 * one.matrix, rtol=0.005)


def test_the_order_of_environments_does_not_matter() -> None:
    losses, order = quadratics(definite(3, 3, 2), ones(3)), [2, 0, 1]
    one = search(losses, ones(3), 0.01, FAR)
    turned = search(lambda weights: losses(weights)[order], ones(3), 0.01, FAR)
    np.testing.assert_allclose(turned.matrix, one.matrix[np.ix_(order, order)], rtol=0.01)
    assert (order[turned.pair[0]], order[turned.pair[1]]) == one.pair


def test_the_path_stays_where_it_may() -> None:
    losses, start, epsilon = quadratics(definite(2, 4, 3), ones(4) + 0.1), ones(4), 0.05
    for bound, size in ((WithinNorm(0.4), 0.4 * 2.0), (WithinEachWeight(0.2), 0.2 * 2.0)):
        found = search(losses, start, epsilon, bound)
        path, (kept, target) = found.path, found.pair
        before = losses(start)
        assert (np.abs(path.losses[:, kept] - float(before[kept])) <= epsilon).all()
        np.testing.assert_allclose(path.losses[0], before.numpy())
        np.testing.assert_allclose(path.losses[-1], losses(path.weights).numpy())
        assert abs(path.losses[-1, target] - float(before[kept])) == pytest.approx(found.value)
        assert path.lengths[0] == 0.0
        assert (np.diff(path.lengths) > 0).all()
        assert float((path.weights - start).norm()) <= size + 1e-9
        assert path.lengths[-1] >= float((path.weights - start).norm() / start.norm()) - 1e-9
        assert np.diff(path.lengths).max() <= 2 * size / start.norm() / 20 + 1e-9


def test_the_bounds_are_met_in_directions_that_an_environment_does_not_see() -> None:
    """Where H_e is singular the value is that of the farthest weights: ½·4·r² for each kind of bound."""
    matrices = torch.stack([torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ([0.0, 1.0], [4.0, 0.0])])
    start = torch.tensor([3.0, 4.0], dtype=torch.float64)
    for bound, reach in ((WithinNorm(0.5), 2.5), (WithinEachWeight(0.5), 1.5)):
        found = search(quadratics(matrices, start), start, 1e-3, bound)
        assert found.matrix[0, 1] == pytest.approx(2 * reach**2, rel=1e-3)


def test_the_reference_is_the_loss_of_the_environment_that_is_kept() -> None:
    """|L_e'(θ) − L_e(θ*)| with different losses at θ*: no walk is needed for their difference, nor can one undo it."""
    flat_losses = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found = search(lambda weights: flat_losses + 0 * weights.sum(), ones(2), 0.01, FAR)
    assert found.matrix[0, 1] == found.matrix[1, 0] == pytest.approx(2.0)
    assert found.matrix[0, 0] == found.matrix[1, 1] == 0.0


def test_a_lower_loss_counts_for_how_far_it_is_from_the_kept_one() -> None:
    """From 1 it can rise by 0.6 or fall by 0.5; seen from 2, where the first loss stays, falling leads farther."""

    def losses(weights: Tensor) -> Tensor:
        away = weights[0] - 1
        return torch.stack([2 + 0 * away, 1 + torch.where(away > 0, 0.6, 0.5) * torch.sin(away)])

    found = search(losses, ones(1), 0.01, WithinNorm(2.0))
    assert found.matrix[0, 1] == pytest.approx(1.5, rel=1e-3)


def test_a_lower_loss_is_followed_down_a_bent_valley() -> None:
    """Rosenbrock's: from 0.69 to 0 along a curve, while the first loss stays at 2; upwards there is only 1."""

    def losses(weights: Tensor) -> Tensor:
        x, y = weights
        height = (1 - x).square() + 20 * (y - x.square()).square()
        return torch.stack([2 + 0 * x, height / (1 + height)])

    start = torch.tensor([-0.5, 0.25], dtype=torch.float64)
    assert search(losses, start, 0.01, WithinNorm(5.0)).matrix[0, 1] > 1.8


@pytest.mark.parametrize(("wall", "width"), [(0.3, 0.05), (0.275, 0.005)])
def test_a_wall_is_not_jumped(wall: float, width: float) -> None:
    """Beyond it the first loss is low again, but what lies there is not connected to θ*."""

    def losses(weights: Tensor) -> Tensor:
        away = weights[0] - 1
        return torch.stack([torch.exp(-(((away.abs() - wall) / width) ** 2)), away.square()])

    found = search(losses, ones(1), 0.01, WithinNorm(1.0))
    edge = wall - width * np.sqrt(np.log(100))
    assert found.matrix[0, 1] == pytest.approx(edge**2, rel=0.02)


def test_the_other_side_of_a_valley_is_found() -> None:
    """The gradient leads up the low side, to 0.3025; beyond the minimum at 1.05 it is ten times as steep."""

    def losses(weights: Tensor) -> Tensor:
        away = weights[0] - 1.05
        return torch.stack([0 * away, torch.where(away > 0, 10 * away.square(), away.square())])

    found = search(losses, ones(1), 0.01, WithinNorm(0.5))
    assert found.matrix[0, 1] == pytest.approx(10 * 0.45**2, rel=1e-3)


def hard(z: Tensor) -> Tensor:
    return (z / 10 + 0.5).clamp(0.0, 1.0)


@pytest.mark.parametrize(("sigma", "error"), [(hard, 1e-12), (torch.sigmoid, 0.2)])
@pytest.mark.parametrize("bound", [WithinNorm(0.02), WithinEachWeight(1.5)])
def test_the_patchwork_network_of_the_paper(sigma: LossesAt, error: float, bound: Bound) -> None:
    """θ₅σ(θ₁x + θ₂) + θ₆σ(θ₃x + θ₄); with σ(z) = z/10 + ½, cut at 0 and 1, its weights fit the target exactly."""
    x = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    target = (10 * (x - 0.4)).clamp(0, 1) + (10 * (x - 0.7)).clamp(0, 1)
    start = torch.tensor([100.0, -45.0, 100.0, -75.0, 1.0, 1.0], dtype=torch.float64)

    def says(w: Tensor) -> Tensor:
        return w[4] * sigma(w[0] * x + w[1]) + w[5] * sigma(w[2] * x + w[3])

    def losses(weights: Tensor) -> Tensor:
        errors = (says(weights) - target).square()
        return torch.stack([errors[x < 0.5].mean(), errors[x >= 0.5].mean()])

    assert float((says(start) - target).abs().max()) < error
    flipped = start.clone()
    flipped[5] = -0.5
    before, after = losses(start), losses(flipped)
    assert float((after - before)[0].abs()) < 1e-3
    assert float(after[1]) > 1.0 > 100 * float(before[1])
    found = search(losses, start, 1e-3, bound)
    there = losses(found.path.weights)
    assert found.pair == (0, 1)
    assert float((there - before)[0].abs()) <= 1e-3
    assert float(there[1]) > 1.0


@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_environments_are_those_of_their_rows(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(50, weighted=weighted)
    codes = torch.where(torch.arange(50) % 7 == 0, -1, data.environment.codes + 1)
    data = Dataset(data.x, data.y, Column(codes, ("nobody", "even", "odd")), weight=data.weight)
    net = mlp(4, 6, 3)
    objective, tree = Objective(Functional.of(net), data, cross_entropy), WeightTree.of(net)
    losses = LossesByEnvironment(objective, tree)
    assert losses.names == ("even", "odd")
    elsewhere = losses.start + 0.1
    moved = tree.with_parameters(unflat(elsewhere, tree.parameters))
    expected = [part(moved) for part in by_environment(objective).values()]
    np.testing.assert_allclose(losses(elsewhere).numpy(), expected)
    monkeypatch.setattr("holdfast.core.predictors.BLOCK_BYTES", 4 * 8 * 7)
    np.testing.assert_allclose(losses(elsewhere).numpy(), expected)


def test_a_network_keeps_one_environment_and_loses_the_other() -> None:
    net = mlp(4, 8, 3)
    losses = LossesByEnvironment(Objective(Functional.of(net), rows(), cross_entropy), WeightTree.of(net))
    found = search(losses, losses.start, 0.01, WithinEachWeight(1.0))
    kept, target = found.pair
    before, after = losses(losses.start), losses(found.path.weights)
    assert abs(float((after - before)[kept])) <= 0.01
    assert float((after - before)[target].abs()) > 0.1
    assert found.value == search(losses, losses.start, 0.01, WithinEachWeight(1.0)).value


def test_what_cannot_be_searched_is_one_line() -> None:
    losses = quadratics(definite(2, 2, 0), ones(2))
    with pytest.raises(UserError, match="all weights are zero"):
        search(losses, 0 * ones(2), 0.01, FAR)
    with pytest.raises(UserError, match="not finite at these weights"):
        search(losses, ones(2) / 0, 0.01, WithinEachWeight(1.0))
    with pytest.raises(UserError, match="there is one only"):
        search(lambda weights: losses(weights)[:1], ones(2), 0.01, FAR)
