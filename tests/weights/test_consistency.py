"""Closed forms of consistency against dense formulas, brute force and the figures of the paper."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from weight_networks import convnet, mlp, rows

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.losses.per_example import Loss, cross_entropy, half_squared_error, squared_error
from holdfast.weights import (
    Functional,
    GaussNewtonProduct,
    KroneckerFactors,
    Objective,
    WeightTree,
    by_environment,
    diagonal_gauss_newton,
    diagonal_log_det_gap,
    flat,
    gauss_newton_matrix,
    karcher_mean,
    kronecker,
    kronecker_factors,
    kronecker_log_det_gap,
    log_det_gap,
    quadratic_inconsistency,
    unflat,
)


def definite(environments: int, size: int, seed: int = 0) -> Tensor:
    """Random positive definite matrices (E, P, P)."""
    rng = torch.Generator().manual_seed(seed)
    roots = torch.randn(environments, size, size + 2, generator=rng, dtype=torch.float64)
    return roots @ roots.mT / size


def root(matrix: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values**power @ vectors.T


def diagonals(*entries: list[float]) -> Tensor:
    return torch.stack([torch.diag(torch.tensor(of_one, dtype=torch.float64)) for of_one in entries])


def on_the_circle(matrices: Tensor, epsilon: float) -> float:
    """The largest loss of one of two quadratics in the plane where the other is ε, by trying all angles."""
    angles = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    points = torch.stack([angles.cos(), angles.sin()])
    one, other = (torch.einsum("in,ij,jn->n", points, matrix, points) / 2 for matrix in matrices)
    return epsilon * max(float((other / one).max()), float((one / other).max()), 1.0)


def problem(net: nn.Module, data: Dataset, loss: Loss) -> tuple[Objective, WeightTree]:
    return Objective(Functional.of(net), data, loss), WeightTree.of(net)


@pytest.mark.parametrize("seed", range(5))
def test_ellipses_by_brute_force(seed: int) -> None:
    matrices = definite(2, 2, seed)
    assert quadratic_inconsistency(matrices, 0.3).value == pytest.approx(on_the_circle(matrices, 0.3), rel=1e-4)


@pytest.mark.parametrize(("small", "ratio"), [(0.05, 5.5), (0.01, 25.5)])
def test_the_ellipses_of_the_paper(small: float, ratio: float) -> None:
    matrices = diagonals([small, 1.0], [1.0, small])
    assert math.exp(log_det_gap(matrices)) == pytest.approx(ratio, abs=0.02)
    assert quadratic_inconsistency(matrices, 0.5).value == pytest.approx(0.5 / small)


def test_the_generalised_eigenvalue_is_that_of_the_dense_product() -> None:
    matrices, damping = definite(3, 6), 0.1
    found = quadratic_inconsistency(matrices, 0.2, damping)
    for kept, target in itertools.permutations(range(3), 2):
        inverse = root(matrices[kept] + damping * torch.eye(6, dtype=torch.float64), -0.5)
        expected = 0.2 * float(torch.linalg.eigvalsh(inverse @ matrices[target] @ inverse)[-1])
        assert found.matrix[kept, target] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(found.matrix.diagonal(), 0.2)
    assert found.value == found.matrix.max() == found.matrix[found.pair]


def test_equal_curvatures_are_consistent() -> None:
    matrices = definite(1, 4).expand(3, 4, 4)
    assert quadratic_inconsistency(matrices, 0.7).value == pytest.approx(0.7)
    assert log_det_gap(matrices) == pytest.approx(0.0, abs=1e-12)
    assert diagonal_log_det_gap(matrices.diagonal(dim1=1, dim2=2)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_positive_where_curvatures_differ(seed: int) -> None:
    matrices = definite(3, 4, seed)
    entries = matrices.diagonal(dim1=1, dim2=2)
    assert log_det_gap(matrices) > 0.05
    assert diagonal_log_det_gap(entries) > 0.01
    assert diagonal_log_det_gap(entries, 0.1) == pytest.approx(log_det_gap(torch.diag_embed(entries), 0.1))
    assert 0 < log_det_gap(matrices, 10.0) < log_det_gap(matrices)


def test_the_order_of_environments_does_not_matter() -> None:
    matrices, order = definite(3, 4), [2, 0, 1]
    found, turned = quadratic_inconsistency(matrices, 0.1), quadratic_inconsistency(matrices[order], 0.1)
    np.testing.assert_allclose(turned.matrix, found.matrix[np.ix_(order, order)])
    assert (order[turned.pair[0]], order[turned.pair[1]]) == found.pair
    assert log_det_gap(matrices[order]) == pytest.approx(log_det_gap(matrices))


def test_losses_and_epsilon_times_a_constant() -> None:
    matrices = definite(2, 3)
    one, scaled = quadratic_inconsistency(matrices, 0.1), quadratic_inconsistency(5 * matrices, 0.5)
    assert scaled.value == pytest.approx(5 * one.value)
    assert log_det_gap(5 * matrices) == pytest.approx(log_det_gap(matrices))


@pytest.mark.parametrize("seed", range(20))
def test_the_gap_bounds_the_inconsistency(seed: int) -> None:
    """I ≤ 4ε (det of the arithmetic over det of the geometric mean)² for two environments."""
    matrices = definite(2, 1 + seed % 4, seed)
    ratio = torch.linalg.det(matrices.mean(0)) / torch.linalg.det(karcher_mean(matrices))
    value = quadratic_inconsistency(matrices, 1.0).value
    assert value <= 4 * float(ratio) ** 2
    assert float(ratio) == pytest.approx(math.exp(log_det_gap(matrices)), rel=1e-8)


def test_the_bound_needs_the_factor_of_four() -> None:
    """With means as defined above the factor 2 is too small: curvatures 1 and 100 in one dimension."""
    matrices = diagonals([1.0], [100.0])
    value, squared = quadratic_inconsistency(matrices, 1.0).value, math.exp(2 * log_det_gap(matrices))
    assert 2 * squared < value <= 4 * squared


def test_the_damping_of_a_radius_brackets_the_bounded_value() -> None:
    """For μ = 2ε/R² the bounded maximum lies between the value and twice it."""
    epsilon, radius = 0.01, 0.5
    matrices = diagonals([0.0, 1.0], [1.0, 0.0])
    exact = radius**2 / 2  # all of the radius along the direction that the other does not see
    found = quadratic_inconsistency(matrices, epsilon, 2 * epsilon / radius**2).value
    assert found <= exact <= 2 * found
    assert found == pytest.approx(exact)


def test_singular_curvatures_are_refused() -> None:
    matrices = diagonals([0.0, 1.0], [1.0, 1.0])
    for refused in (
        lambda: quadratic_inconsistency(matrices, 0.1),
        lambda: log_det_gap(matrices),
        lambda: diagonal_log_det_gap(matrices.diagonal(dim1=1, dim2=2)),
        lambda: karcher_mean(matrices),
        lambda: KroneckerFactors(matrices[0], matrices[1]).log_det(),
    ):
        with pytest.raises(UserError, match="give a larger damping"):
            refused()


def test_the_geometric_mean_of_two_is_its_closed_form() -> None:
    one, other = definite(2, 4)
    half, inverse = root(one, 0.5), root(one, -0.5)
    expected = half @ root(inverse @ other @ inverse, 0.5) @ half
    torch.testing.assert_close(karcher_mean(torch.stack([one, other])), expected)


def test_the_geometric_mean_of_three() -> None:
    matrices = definite(3, 4)
    mean, change = karcher_mean(matrices), definite(1, 4, seed=9)[0]
    logs = [torch.linalg.det(matrix).log() for matrix in matrices]
    torch.testing.assert_close(torch.linalg.det(mean).log(), torch.stack(logs).mean())
    torch.testing.assert_close(karcher_mean(change @ matrices @ change.T), change @ mean @ change.T)
    torch.testing.assert_close(karcher_mean(torch.linalg.inv(matrices)), torch.linalg.inv(mean))
    with pytest.raises(UserError, match="has not converged in 1 steps"):
        karcher_mean(matrices, steps=1)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_dense_matrix_is_that_of_products(weighted: bool) -> None:
    objective, tree = problem(mlp(4, 6, 3), rows(70, weighted=weighted), cross_entropy)
    found, product = gauss_newton_matrix(objective, tree), GaussNewtonProduct(objective, tree)
    for column in (0, 20, 50):
        unit = torch.zeros(len(found), dtype=torch.float64)
        unit[column] = 1.0
        torch.testing.assert_close(found[column], flat(product(unflat(unit, tree.parameters))))
    torch.testing.assert_close(found.diagonal(), flat(diagonal_gauss_newton(objective, tree)))


def regression(n: int = 50) -> Dataset:
    data = rows(n, weighted=True)
    y = torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Dataset(data.x, y, data.environment, weight=data.weight)


@pytest.mark.parametrize("bias", [False, True])
def test_factors_of_a_linear_regression_are_exact(bias: bool) -> None:
    """The curvature of squared error is the same in every row, so that the product is the whole matrix."""
    objective, tree = problem(nn.Linear(4, 1, bias=bias).double(), regression(), squared_error)
    (factors,) = kronecker_factors(objective, tree).values()
    assert factors.outputs.item() == pytest.approx(2.0)
    torch.testing.assert_close(factors.dense(), gauss_newton_matrix(objective, tree))


def test_factors_of_one_row_are_exact() -> None:
    """There inputs and derivatives are constant; entries are in the order of the weights."""
    objective, tree = problem(nn.Linear(4, 3, bias=False).double(), rows(1), cross_entropy)
    (factors,) = kronecker_factors(objective, tree).values()
    torch.testing.assert_close(factors.dense(), gauss_newton_matrix(objective, tree))


def test_factors_of_a_network_are_means_of_inputs_and_slopes() -> None:
    """Against each row's own matrices: A is their mean, and so is G, the Gauss–Newton matrix in a layer's outputs."""
    net = mlp(4, 5, 3)
    objective, tree = problem(net, rows(30, weighted=True), cross_entropy)
    found, share = kronecker_factors(objective, tree), objective.share(objective.rows.batch())
    assert list(found) == ["0", "2"]
    hidden = torch.relu(net[0](objective.rows.x)).detach()
    behind = torch.cat([hidden, torch.ones(30, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(found["2"].inputs, behind.T @ (share[:, None] * behind))
    p = net(objective.rows.x).softmax(1).detach()
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    torch.testing.assert_close(found["2"].outputs, torch.einsum("n,nij->ij", share, curvature))
    through = net[2].weight.detach() * (hidden > 0)[:, None, :]  # (N, 3, 5)
    torch.testing.assert_close(found["0"].outputs, torch.einsum("n,nij->ij", share, through.mT @ curvature @ through))


def test_the_log_determinant_of_a_product() -> None:
    one, other = definite(2, 4)
    factors = KroneckerFactors(one, other[:3, :3])
    closed = 3 * torch.logdet(one) + 4 * torch.logdet(other[:3, :3])
    assert factors.log_det() == pytest.approx(float(closed))
    damped = torch.logdet(factors.dense() + 0.3 * torch.eye(12, dtype=torch.float64))
    assert factors.log_det(0.3) == pytest.approx(float(damped))


def kronecker_environments() -> list[dict[str, KroneckerFactors]]:
    objective, tree = problem(mlp(4, 5, 3), rows(60), cross_entropy)
    return [kronecker_factors(part, tree) for part in by_environment(objective).values()]


def test_the_gap_of_products_is_that_of_dense_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    environments, damping = kronecker_environments(), 0.01
    dense = sum(
        log_det_gap(torch.stack([of_one[name].dense() for of_one in environments]), damping) for name in ("0", "2")
    )
    exact = kronecker_log_det_gap(environments, damping)
    assert exact.value == pytest.approx(dense)
    assert exact.bounded == ()
    monkeypatch.setattr(kronecker, "MOST_EXACT", 20)
    bound = kronecker_log_det_gap(environments, damping)
    assert bound.bounded == ("0",)
    assert dense <= bound.value <= 1.5 * dense
    same = kronecker_log_det_gap([environments[0], environments[0]], damping)
    assert same.value == pytest.approx(0.0, abs=1e-9)


def test_factors_are_refused_where_layers_are_not_linear_or_used_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))[:, :3]

    class Idle(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](x)

    for net, what in (
        (convnet(), "this one has 0.0.weight"),
        (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), "this one has 1.weight"),
        (nn.Flatten(), "this one has no layer"),
        (Twice(), "'layer' is applied more than once"),
        (Idle(nn.Linear(4, 3), nn.Linear(3, 3)), "'1' takes no part"),
    ):
        with pytest.raises(UserError, match=f"{what}.*take the diagonal"):
            kronecker_factors(*problem(net.double(), rows(), cross_entropy))


def test_environments_keep_their_own_rows() -> None:
    data = Dataset(torch.eye(4), torch.arange(4.0), Column(torch.tensor([1, -1, 0, 1]), ("a", "b", "none")))
    parts = by_environment(problem(nn.Linear(4, 1), data, half_squared_error)[0])
    assert {name: part.rows.labels.tolist() for name, part in parts.items()} == {"a": [2.0], "b": [0.0, 3.0]}
