"""Weight trees and vectors in weight space."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from weight_networks import convnet, images, mlp, rows

from holdfast.core.errors import UserError
from holdfast.losses.per_example import cross_entropy
from holdfast.weights import (
    Functional,
    Objective,
    WeightTree,
    check_finite,
    combined,
    difference,
    dot,
    filter_norms,
    flat,
    interpolated,
    norm,
    random_direction,
    recalibrate,
    unflat,
)


def test_a_tree_sorts_what_it_holds_and_gives_it_back() -> None:
    net, other = convnet(), convnet(seed=1)
    tree = WeightTree.of(net)
    assert set(tree.counters) == {"0.1.num_batches_tracked"}
    assert set(tree.buffers) == {"0.1.running_mean", "0.1.running_var"}
    assert {*tree.tensors} == {*net.state_dict()}
    tree.load_into(other)
    x = next(images())
    assert torch.equal(other(x), net(x))
    before = net[1].weight.clone()
    with torch.no_grad():
        other[1].weight += 1
    assert torch.equal(net[1].weight, before)


def test_shared_tensors_stand_there_once_and_move_together() -> None:
    first = nn.Linear(3, 3)
    net = nn.Sequential(first, nn.Tanh(), first)
    tree = WeightTree.of(net)
    assert list(tree.parameters) == ["0.weight", "0.bias"]
    doubled = combined([(2.0, tree)])
    x = torch.randn(4, 3)
    doubled_net = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    doubled_net[0].load_state_dict({"weight": 2 * first.weight, "bias": 2 * first.bias})
    expected = doubled_net[0](doubled_net(x))
    torch.testing.assert_close(Functional.of(net).outputs(doubled, x), expected)


def test_buffers_that_are_not_kept_are_no_weights() -> None:
    net = nn.Linear(2, 2)
    net.register_buffer("cache", torch.ones(3), persistent=False)
    assert "cache" not in WeightTree.of(net).tensors


def test_combinations_are_linear_in_parameters_and_buffers() -> None:
    a, b = WeightTree.of(convnet()), WeightTree.of(convnet(seed=1))
    mixed = combined([(0.3, a), (-1.2, b)])
    for name in a.parameters:
        torch.testing.assert_close(mixed.parameters[name], 0.3 * a.parameters[name] - 1.2 * b.parameters[name])
    torch.testing.assert_close(
        mixed.buffers["0.1.running_mean"], 0.3 * a.buffers["0.1.running_mean"] - 1.2 * b.buffers["0.1.running_mean"]
    )
    assert mixed.counters is a.counters
    for t, end in ((0.0, a), (1.0, b)):
        torch.testing.assert_close(dict(interpolated(a, b, t).parameters), dict(end.parameters))


def test_a_difference_leads_from_one_to_the_other_in_chosen_layers() -> None:
    a, b = WeightTree.of(mlp(4, 5, 3)), WeightTree.of(mlp(4, 5, 3, seed=1))
    there = a.moved(difference(b, a))
    torch.testing.assert_close(dict(there.parameters), dict(b.parameters))
    half = a.moved(difference(b, a, only=lambda name: name.startswith("0.")), 0.5)
    torch.testing.assert_close(half.parameters["0.bias"], (a.parameters["0.bias"] + b.parameters["0.bias"]) / 2)
    assert half.parameters["2.bias"] is a.parameters["2.bias"]
    with pytest.raises(UserError, match=r"the direction names nowhere, and the network has no such"):
        a.moved({"nowhere": torch.zeros(1)})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (mlp(4, 6, 3), r"0.weight is \(5, 4\) and \(6, 4\), 0.bias is \(5,\) and \(6,\), 2.weight"),
        (mlp(4, 5, 5, 3), r"4.weight is only in the second"),
        (mlp(4, 3), r"0.weight is \(5, 4\) and \(3, 4\).*2.weight is only in the first"),
    ],
)
def test_other_architectures_are_refused_by_their_tensors(other: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        combined([(1.0, WeightTree.of(mlp(4, 5, 3))), (1.0, WeightTree.of(other))])
    with pytest.raises(UserError, match="different architectures"):
        WeightTree.of(mlp(4, 5, 3)).load_into(other)


def test_nothing_and_nan_are_refused() -> None:
    with pytest.raises(UserError, match="no weights to combine"):
        combined([])
    net = mlp(4, 5, 3)
    with torch.no_grad():
        net[2].bias[1] = torch.nan
    with pytest.raises(UserError, match=r"^2.bias hold values that are not finite"):
        combined([(1.0, WeightTree.of(net))])
    check_finite(WeightTree.of(mlp(4, 5, 3)).parameters)


def test_vectors() -> None:
    a = difference(WeightTree.of(mlp(4, 5, 3)), WeightTree.of(mlp(4, 5, 3, seed=1)))
    vector = flat(a)
    assert vector.shape == (4 * 5 + 5 + 5 * 3 + 3,)
    for name, part in unflat(vector, a).items():
        assert torch.equal(part, a[name])
    torch.testing.assert_close(norm(a), vector.norm())
    torch.testing.assert_close(dot(a, unflat(2 * vector, a)), 2 * vector @ vector)


@pytest.mark.parametrize("seed", range(3))
def test_random_directions_have_the_filters_lengths(seed: int) -> None:
    weights = WeightTree.of(convnet(seed)).parameters
    rng = torch.Generator().manual_seed(seed)
    noise = random_direction(weights, rng)
    for name, part in noise.items():
        if part.ndim > 1:
            torch.testing.assert_close(filter_norms(part), filter_norms(weights[name]))
        else:
            assert not part.any()
    layer = random_direction(weights, rng, "layer")
    torch.testing.assert_close(layer["1.weight"].norm(), weights["1.weight"].norm())
    assert not torch.allclose(filter_norms(layer["1.weight"]), filter_norms(weights["1.weight"]))
    plain = random_direction({"w": torch.zeros(100, 100)}, rng, "none")
    assert float(plain["w"].std()) == pytest.approx(1.0, abs=0.05)


def test_an_objective_is_the_weighted_mean_loss_and_leaves_the_network_alone() -> None:
    net, data = mlp(4, 5, 3).train(), rows(weighted=True)
    tree, objective = WeightTree.of(net), Objective(Functional.of(net), data, cross_entropy)
    losses = cross_entropy(net(data.batch().x), data.labels)
    assert data.weight is not None
    expected = (data.weight * losses).sum() / data.weight.sum()
    assert objective(tree) == pytest.approx(expected.item(), rel=1e-12)
    gradients = torch.autograd.grad(expected, list(net.parameters()))
    for found, gradient in zip(objective.gradient(tree).values(), gradients, strict=True):
        torch.testing.assert_close(found, gradient)
    moved = tree.moved(tree.parameters, 1.0)
    assert objective(moved) != objective(tree)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_recalibrated_statistics_are_those_of_the_inputs() -> None:
    net = convnet()
    batches = list(images())
    tree = WeightTree.of(net)
    found = recalibrate(net, tree.moved(tree.parameters, 0.5), batches)
    outputs = [1.5 * net[0][0](x) for x in batches]
    expected = torch.stack([out.mean(dim=(0, 2, 3)) for out in outputs]).mean(0)
    torch.testing.assert_close(found.buffers["0.1.running_mean"], expected)
    assert found.counters["0.1.num_batches_tracked"] == 3
    assert torch.equal(WeightTree.of(net).buffers["0.1.running_mean"], tree.buffers["0.1.running_mean"])
    plain = WeightTree.of(mlp(4, 5, 3))
    assert recalibrate(mlp(4, 5, 3), plain, []) is plain
