"""Products with curvature matrices, and what is made of them, against closed forms and dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from weight_networks import mlp, rows

from holdfast.core.data import Column, Dataset
from holdfast.losses.per_example import cross_entropy, half_squared_error
from holdfast.weights import (
    Functional,
    GaussNewtonProduct,
    HessianProduct,
    Objective,
    WeightTree,
    diagonal_by_environment,
    diagonal_gauss_newton,
    flat,
    random_direction,
    slice_along,
    slice_of_plane,
    spectral_density,
    top_eigenvalues,
    trace,
    trajectory_plane,
    unflat,
)


def linear_problem(n: int = 60, inputs: int = 5) -> tuple[Objective, WeightTree, Tensor]:
    """Linear regression under ½(f − y)², whose Hessian is XᵀX/n whatever the weights."""
    data = rows(n, inputs)
    data = Dataset(data.x, torch.randn(n, dtype=torch.float64), data.environment)
    net = nn.Linear(inputs, 1, bias=False).double()
    x = data.batch().x
    assert isinstance(x, Tensor)
    return Objective(Functional.of(net), data, half_squared_error), WeightTree.of(net), x.T @ x / n


def network_problem(weighted: bool = True) -> tuple[Objective, WeightTree]:
    net = mlp(4, 6, 3)
    return Objective(Functional.of(net), rows(weighted=weighted), cross_entropy), WeightTree.of(net)


def dense_hessian(objective: Objective, tree: WeightTree) -> Tensor:
    def loss(vector: Tensor) -> Tensor:
        batch = objective.rows.batch()
        return objective.part(unflat(vector, tree.parameters), tree, batch)

    return torch.autograd.functional.hessian(loss, flat(tree.parameters))  # type: ignore[no-any-return]


def dense_gauss_newton(objective: Objective, tree: WeightTree) -> Tensor:
    batch = objective.rows.batch()

    def outputs(vector: Tensor) -> Tensor:
        weights = WeightTree(unflat(vector, tree.parameters), tree.buffers, tree.counters)
        return objective.network.outputs(weights, batch.x)

    vector = flat(tree.parameters)
    jacobian, at = torch.autograd.functional.jacobian(outputs, vector), outputs(vector)
    p = at.softmax(1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("n,nip,nij,njq->pq", objective.share(batch), jacobian, curvature, jacobian)


def matrix(product: object, like: dict[str, Tensor]) -> Tensor:
    size = len(flat(like))
    return torch.stack([flat(product(unflat(row, like))) for row in torch.eye(size, dtype=torch.float64)])  # type: ignore[operator]


def test_products_of_a_linear_problem_are_its_second_moment() -> None:
    objective, tree, moment = linear_problem()
    for product in (HessianProduct(objective, tree), GaussNewtonProduct(objective, tree)):
        torch.testing.assert_close(matrix(product, dict(tree.parameters)), moment, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_products_of_a_network_are_those_of_the_dense_matrices(weighted: bool) -> None:
    objective, tree = network_problem(weighted)
    like = dict(tree.parameters)
    torch.testing.assert_close(
        matrix(HessianProduct(objective, tree), like), dense_hessian(objective, tree), atol=1e-10, rtol=1e-6
    )
    torch.testing.assert_close(
        matrix(GaussNewtonProduct(objective, tree), like), dense_gauss_newton(objective, tree), atol=1e-10, rtol=1e-6
    )


class Attention(nn.Module):
    """Of the kind whose fast kernels have no derivatives beyond the first."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(2, 12), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inward(x.reshape(-1, 2, 2)).reshape(-1, 2, 3, 1, 4).permute(2, 0, 3, 1, 4)
        return self.outward(nn.functional.scaled_dot_product_attention(*parts).mean(dim=(1, 2)))


def test_curvature_goes_through_attention() -> None:
    torch.manual_seed(0)
    net = Attention().double()
    objective, tree = Objective(Functional.of(net), rows(), cross_entropy), WeightTree.of(net)
    direction = random_direction(tree.parameters, torch.Generator().manual_seed(0))
    near = [objective.gradient(tree.moved(direction, step)) for step in (1e-5, -1e-5)]
    product = HessianProduct(objective, tree)(direction)
    for name, part in product.items():
        torch.testing.assert_close(part, (near[0][name] - near[1][name]) / 2e-5, rtol=1e-5, atol=1e-8)
    size = len(flat(tree.parameters))
    dense = matrix(GaussNewtonProduct(objective, tree), dict(tree.parameters))
    assert dense.shape == (size, size)
    torch.testing.assert_close(flat(diagonal_gauss_newton(objective, tree)), dense.diagonal())


def test_products_add_over_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, tree = network_problem()
    whole = [p(dict(tree.parameters)) for p in (HessianProduct(objective, tree), GaussNewtonProduct(objective, tree))]
    monkeypatch.setattr("holdfast.core.predictors.BLOCK_BYTES", 4 * 8 * 7)
    assert len(list(objective.batches())) > 3
    parts = [p(dict(tree.parameters)) for p in (HessianProduct(objective, tree), GaussNewtonProduct(objective, tree))]
    for one, other in zip(whole, parts, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name])


@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_top_eigenvalues(k: int) -> None:
    objective, tree, moment = linear_problem()
    found = top_eigenvalues(HessianProduct(objective, tree), tree.parameters, k, np.random.default_rng(0))
    expected = torch.linalg.eigvalsh(moment).flip(0)[:k].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_top_eigenvalues_are_the_largest_and_not_those_of_largest_size() -> None:
    objective, tree = network_problem()
    hessian = -dense_hessian(objective, tree)
    like = dict(tree.parameters)

    def negative(direction: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: -part for name, part in HessianProduct(objective, tree)(direction).items()}

    found = top_eigenvalues(negative, like, 2, np.random.default_rng(0))
    np.testing.assert_allclose(found, torch.linalg.eigvalsh(hessian).flip(0)[:2].numpy(), rtol=1e-5, atol=1e-8)


def test_the_trace_is_within_its_standard_error() -> None:
    objective, tree = network_problem()
    found = trace(GaussNewtonProduct(objective, tree), tree.parameters, 200, torch.Generator().manual_seed(0))
    exact = float(dense_gauss_newton(objective, tree).trace())
    assert abs(found.value - exact) < 3 * found.standard_error
    assert 0 < found.standard_error < 0.1 * exact
    diagonal = trace(lambda v: {n: 3 * p for n, p in v.items()}, tree.parameters, 2, torch.Generator())
    assert diagonal.value == pytest.approx(3 * len(flat(tree.parameters)))
    assert diagonal.standard_error == 0.0


def test_the_density_has_the_moments_of_the_matrix() -> None:
    objective, tree, moment = linear_problem(inputs=8)
    found = spectral_density(
        HessianProduct(objective, tree), tree.parameters, torch.Generator().manual_seed(0), probes=300, steps=8
    )
    values = torch.linalg.eigvalsh(moment).numpy()
    assert found.weights.sum() == pytest.approx(1.0)
    for power in (1, 2):
        assert found.weights @ found.nodes**power == pytest.approx((values**power).mean(), rel=0.05)
    assert found.nodes.min() == pytest.approx(values.min(), rel=1e-6)
    assert found.nodes.max() == pytest.approx(values.max(), rel=1e-6)
    at = np.linspace(-5, 10, 3000)
    assert np.trapezoid(found.smoothed(at, 0.1), at) == pytest.approx(1.0, abs=1e-3)


def test_the_density_of_a_multiple_of_one_is_one_point() -> None:
    _, tree = network_problem()
    found = spectral_density(
        lambda v: {n: 2 * p for n, p in v.items()}, tree.parameters, torch.Generator().manual_seed(0), probes=2
    )
    np.testing.assert_allclose(found.nodes, 2.0)


def test_diagonals_are_those_of_the_dense_matrix_and_of_environments() -> None:
    objective, tree = network_problem()
    found = flat(diagonal_gauss_newton(objective, tree))
    torch.testing.assert_close(found, dense_gauss_newton(objective, tree).diagonal(), atol=1e-10, rtol=1e-6)
    parts = diagonal_by_environment(objective, tree)
    assert list(parts) == ["even", "odd"]
    assert objective.rows.weight is not None
    shares = [objective.rows.weight[objective.rows.environment.codes == code].sum() for code in (0, 1)]
    mixed = sum(s * flat(p) for s, p in zip(shares, parts.values(), strict=True)) / sum(shares)
    torch.testing.assert_close(mixed, found)


def test_the_diagonal_of_a_network_that_looks_at_its_numbers() -> None:
    class Careful(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (2 if float(x.sum()) > 1e9 else 1)

    net = mlp(4, 6, 3)
    tree = WeightTree.of(net)
    found = [
        diagonal_gauss_newton(Objective(Functional.of(module), rows(), cross_entropy), tree)
        for module in (net, Careful(*net))
    ]
    torch.testing.assert_close(flat(found[0]), flat(found[1]))


def test_the_diagonal_of_tokens() -> None:
    """Rows that are dicts go through as well."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return self.table(x["ids"]).mean(1)

    net = Bag().double()
    data = Dataset({"ids": torch.tensor([[0, 1], [1, 2], [3, 3]])}, torch.tensor([0, 1, 2]), Column.constant(3))
    objective, tree = Objective(Functional.of(net), data, cross_entropy), WeightTree.of(net)
    torch.testing.assert_close(
        flat(diagonal_gauss_newton(objective, tree)), dense_gauss_newton(objective, tree).diagonal()
    )


def test_slices_do_not_see_a_rescaling_that_changes_nothing() -> None:
    net, scaled = mlp(4, 6, 3), mlp(4, 6, 3)
    with torch.no_grad():
        scaled[0].weight *= 7
        scaled[0].bias *= 7
        scaled[2].weight /= 7
    data = rows()
    changes = {}
    for normalization in ("filter", "none"):
        values = []
        for network in (net, scaled):
            objective, tree = Objective(Functional.of(network), data, cross_entropy), WeightTree.of(network)
            noise = random_direction(tree.parameters, torch.Generator().manual_seed(0), normalization)  # type: ignore[arg-type]
            values.append(slice_along(objective, tree, noise, [-0.5, 0.0, 0.5, 1.0]))
        changes[normalization] = np.abs(values[0] - values[1]).max()
    assert changes["filter"] < 1e-5
    assert changes["none"] > 1e-2


def test_a_slice_of_a_plane_has_the_slices_along_its_sides() -> None:
    objective, tree = network_problem()
    rng = torch.Generator().manual_seed(0)
    one, other = random_direction(tree.parameters, rng), random_direction(tree.parameters, rng)
    plane = slice_of_plane(objective, tree, (one, other), [-1.0, 0.0, 1.0], [0.0, 0.5])
    assert plane.shape == (2, 3)
    np.testing.assert_allclose(plane[0], slice_along(objective, tree, one, [-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(plane[:, 1], slice_along(objective, tree, other, [0.0, 0.5]))


def test_the_plane_of_a_path_that_lies_in_one() -> None:
    rng = np.random.default_rng(0)
    first, second = np.linalg.qr(rng.normal(size=(12, 2)))[0].T
    places = rng.normal(size=(6, 2)) * [3.0, 1.0]
    points = [torch.from_numpy(5 + a * first + b * second) for a, b in places]
    trees = [WeightTree({"w": p[:8].reshape(2, 4), "b": p[8:]}, {}, {}) for p in points]
    plane = trajectory_plane(trees)
    assert plane.explained.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(plane.coordinates[-1], 0.0)
    gram = [[float(flat(a) @ flat(b)) for b in plane.directions] for a in plane.directions]
    np.testing.assert_allclose(gram, np.eye(2), atol=1e-9)
    for tree, (a, b) in zip(trees, plane.coordinates, strict=True):
        there = trees[-1].moved(plane.directions[0], a).moved(plane.directions[1], b)
        torch.testing.assert_close(flat(there.parameters), flat(tree.parameters))


def test_paths_that_span_no_plane_are_refused() -> None:
    trees = [WeightTree({"w": torch.tensor([float(k), 0.0])}, {}, {}) for k in range(4)]
    with pytest.raises(ValueError, match="give 3 at least"):
        trajectory_plane(trees[:2])
    with pytest.raises(ValueError, match="on one line"):
        trajectory_plane(trees)
