"""Lines and curves between networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from weight_networks import convnet, images, mlp, rows

from holdfast.core.errors import UserError
from holdfast.core.task import TrainingView
from holdfast.losses.per_example import cross_entropy
from holdfast.models.mlp import MLP
from holdfast.training import Adam, Budget, GradientStep, Trainer
from holdfast.weights import (
    Curve,
    CurveNetwork,
    Functional,
    Objective,
    Profile,
    WeightTree,
    combined,
    fit_curve,
    line_profile,
    recalibrate,
)
from holdfast.weights.curve import Kind, coefficients


def test_the_two_conventions_of_a_barrier() -> None:
    even = Profile((0.0, 0.5, 1.0), (1.0, 3.0, 1.0))
    assert (even.barrier, even.barrier_over_mean, even.highest) == (2.0, 2.0, 3.0)
    uneven = Profile((0.0, 0.25, 1.0), (4.0, 3.0, 0.0))
    assert uneven.barrier == 0.0
    assert uneven.barrier_over_mean == 2.0


def test_a_line_is_evaluated_at_its_points_and_leaves_networks_alone() -> None:
    one, other = mlp(4, 5, 3), mlp(4, 5, 3, seed=1)
    objective = Objective(Functional.of(one), rows(), cross_entropy)
    start, end = WeightTree.of(one), WeightTree.of(other)
    profile = line_profile(start, end, objective, points=5)
    assert profile.positions == (0.0, 0.25, 0.5, 0.75, 1.0)
    half = mlp(4, 5, 3)
    combined([(0.5, start), (0.5, end)]).load_into(half)
    assert profile.values[2] == pytest.approx(
        cross_entropy(half(rows().batch().x), rows().labels).mean().item(), rel=1e-12
    )
    assert profile.values[0] == objective(start)
    assert torch.equal(one[0].weight, start.parameters["0.weight"])


def test_statistics_are_mended_at_every_point() -> None:
    net = convnet()
    start, end, batches = WeightTree.of(net), WeightTree.of(convnet(seed=1)), list(images())
    seen = line_profile(
        start,
        end,
        lambda tree: float(tree.buffers["0.1.running_mean"].sum()),
        points=3,
        mend=lambda tree: recalibrate(net, tree, batches),
    )
    middle = recalibrate(net, combined([(0.5, start), (0.5, end)]), batches)
    assert seen.values[1] == float(middle.buffers["0.1.running_mean"].sum())


@pytest.mark.parametrize("kind", ["bezier", "polygon"])
@pytest.mark.parametrize("points", [2, 3, 5])
def test_curves_start_and_end_where_they_should_and_weigh_by_one(kind: Kind, points: int) -> None:
    assert coefficients(kind, points, 0.0) == [1.0] + [0.0] * (points - 1)
    assert coefficients(kind, points, 1.0) == [0.0] * (points - 1) + [1.0]
    for t in (0.1, 0.37, 0.9):
        found = coefficients(kind, points, t)
        assert sum(found) == pytest.approx(1.0)
        assert min(found) >= 0.0
    if points == 2:
        assert coefficients(kind, 2, 0.3) == pytest.approx([0.7, 0.3])


def test_the_mean_along_a_curve_is_by_length() -> None:
    trees = [WeightTree({"w": torch.tensor([v])}, {}, {}) for v in (0.0, 3.0, 4.0)]
    curve = Curve("polygon", tuple(trees))
    profile = curve.profile(lambda tree: float(tree.parameters["w"]), points=61)
    assert curve.mean_along(profile) == pytest.approx(2.0)  # of a length of 4, evenly
    assert sum(profile.values) / 61 == pytest.approx(2.5, abs=0.1)


def view_of(data: object) -> TrainingView:
    return TrainingView("classification", ("a", "b", "c"), 3, (4,), MLP(), {"train": data})  # type: ignore[dict-item]


def trained(seed: int) -> nn.Module:
    trainer = Trainer(seed=seed, budget=Budget(400), precision="64-true")
    return trainer.fit(mlp(4, 24, 3, seed=seed), view_of(rows(120)), GradientStep(optimizer=Adam(lr=1e-2))).model


def test_the_network_of_a_curve_follows_it_and_trains_its_middle_alone() -> None:
    start, end = WeightTree.of(mlp(4, 5, 3)), WeightTree.of(mlp(4, 5, 3, seed=1))
    network = CurveNetwork(mlp(4, 5, 3), start, end, "bezier", bends=1)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == sum(
        p.numel() for p in mlp(4, 5, 3).parameters()
    )
    x = rows().batch().x
    torch.manual_seed(5)
    found = network(x)
    torch.manual_seed(5)
    t = float(torch.rand(()))
    middle = combined([(0.5, start), (0.5, end)])
    tree = Curve("bezier", (start, middle, end)).at(t)
    torch.testing.assert_close(found, Functional.of(mlp(4, 5, 3)).outputs(tree, x))
    (gradient,) = torch.autograd.grad(found.square().sum(), network.middle[0])
    point = middle.parameters["0.weight"].clone().requires_grad_()
    outputs = Functional.of(mlp(4, 5, 3)).outputs(
        tree.moved({"0.weight": 2 * t * (1 - t) * (point - point.detach())}), x
    )
    torch.testing.assert_close(gradient, torch.autograd.grad(outputs.square().sum(), point)[0])


@pytest.mark.parametrize("kind", ["bezier", "polygon"])
def test_a_trained_curve_lies_lower_than_the_line(kind: Kind) -> None:
    data = rows(120)
    start, end = WeightTree.of(trained(0)), WeightTree.of(trained(1))
    objective = Objective(Functional.of(mlp(4, 24, 3)), data, cross_entropy)
    line = line_profile(start, end, objective)
    trainer = Trainer(budget=Budget(400), precision="64-true")
    step = GradientStep(optimizer=Adam(lr=1e-2))
    curve = fit_curve(trainer, mlp(4, 24, 3), (start, end), view_of(data), step, kind=kind)
    profile = curve.profile(objective, points=25)
    assert (profile.values[0], profile.values[-1]) == (line.values[0], line.values[-1])
    assert line.barrier > 0.1
    assert profile.barrier < 0.5 * line.barrier


def test_a_curve_without_bends_or_between_others_is_refused() -> None:
    start, end = WeightTree.of(mlp(4, 5, 3)), WeightTree.of(mlp(4, 6, 3))
    trainer = Trainer(budget=Budget(1))
    with pytest.raises(UserError, match="without one it is a line"):
        fit_curve(trainer, mlp(4, 5, 3), (start, start), view_of(rows()), GradientStep(), bends=0)
    with pytest.raises(UserError, match="different architectures"):
        fit_curve(trainer, mlp(4, 5, 3), (start, end), view_of(rows()), GradientStep())
