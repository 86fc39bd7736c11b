"""Evaluations of a network's surroundings in weight space."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.core.artifacts import Curve, Matrix
from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Result
from holdfast.core.predictors import EstimatorPredictor, ModulePredictor
from holdfast.core.task import Kind, Split, TaskData
from holdfast.evaluations.curvature import Curvature
from holdfast.evaluations.curved_path import CurvedPath
from holdfast.evaluations.linear_path import ALIGNED, AS_THEY_ARE, REPAIRED, LinearPath
from holdfast.evaluations.loss_slices import LossSlices
from holdfast.losses import default_loss
from holdfast.models.mlp import MLP
from holdfast.weights import PermutationSpec, WeightTree, permuted, write_weights


def task(kind: Kind = "classification", weighted: bool = False) -> TaskData:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(240, 5, generator=rng)
    y = x[:, 0] + 0.3 * x[:, 1] if kind == "regression" else x[:, :3].argmax(1)
    weight = torch.rand(240, generator=rng) + 0.1 if weighted else None
    data = Dataset(x, y, Column(torch.arange(240) % 2, ("north", "south")), weight=weight)
    train, test = (data.take(torch.arange(*ends)) for ends in ((0, 160), (160, 240)))
    splits = (Split("train", "train", train), Split("test", "test", test))
    classes = ("a", "b", "c") if kind == "classification" else ()
    return TaskData(kind, splits, MLP(hidden=(16,)), steps=150, batch_size=32, classes=classes)


def network(data: TaskData, seed: int = 0, steps: int = 150) -> nn.Module:
    torch.manual_seed(seed)
    net = data.model.build(data.input_shape, data.outputs)
    rows = data.split("train").data
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = default_loss(data.kind)(net(rows.batch().x), rows.labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def evaluate(evaluation: object, net: nn.Module, data: TaskData) -> Result:
    predictor = ModulePredictor(net, data.kind, data.classes)
    return evaluation.evaluate(predictor, data, np.random.default_rng(0))  # type: ignore[attr-defined]


def value(result: Result, metric: str) -> float:
    (found,) = [m for m in result.measurements if m.metric == metric]
    assert not found.higher_is_better
    return found.value


def curve(result: Result, name: str) -> dict[str, tuple[float, ...]]:
    (found,) = [a for a in result.artifacts if isinstance(a, Curve) and a.name == name]
    return {label: ys for label, (_, ys) in found.series.items()}


def test_a_permuted_copy_has_a_barrier_that_aligning_takes_away(tmp_path: Path) -> None:
    data = task()
    net = network(data)
    spec, tree = PermutationSpec.of(net), WeightTree.of(net)
    write_weights(permuted(spec, spec.random(tree, torch.Generator().manual_seed(1)), tree), tmp_path / "o.safetensors")
    before = copy.deepcopy(net.state_dict())
    result = evaluate(LinearPath(other=str(tmp_path / "o.safetensors"), points=5), net, data)
    for what in ("loss", "error"):
        assert value(result, f"{what} barrier, {AS_THEY_ARE}") > 0.02
        assert value(result, f"{what} barrier, {ALIGNED}") == pytest.approx(0.0, abs=1e-6)
        assert value(result, f"{what} barrier, {REPAIRED}") == pytest.approx(0.0, abs=0.02)
    losses = curve(result, "training loss on the line")
    rows = data.split("train").data
    at_start = nn.functional.cross_entropy(net(rows.batch().x), rows.labels).item()
    assert all(ys[0] == pytest.approx(at_start, rel=1e-5) for ys in losses.values())
    wrong = (net(data.split("test").data.batch().x).argmax(1) != data.split("test").data.labels).double().mean()
    assert curve(result, "test error on the line")[AS_THEY_ARE][0] == pytest.approx(wrong.item())
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)


def test_running_statistics_are_computed_anew_on_the_way(tmp_path: Path) -> None:
    data = task()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        net[1].running_mean.fill_(1e3)  # of no rows that there are
    write_weights(WeightTree.of(net), tmp_path / "o.safetensors")
    result = evaluate(LinearPath(other=str(tmp_path / "o.safetensors"), points=3), net, data)
    losses = curve(result, "training loss on the line")
    assert set(losses) == {AS_THEY_ARE, ALIGNED}
    assert max(map(max, losses.values())) < 3.0


def test_a_curve_lies_lower_than_the_line(tmp_path: Path) -> None:
    data = task()
    net = network(data)
    write_weights(WeightTree.of(network(data, seed=1)), tmp_path / "o.safetensors")
    result = evaluate(CurvedPath(other=str(tmp_path / "o.safetensors"), points=9, lr=1e-2), net, data)
    assert value(result, "highest loss on the curve") < value(result, "highest loss on the line")
    assert value(result, "loss barrier on the curve") < 0.5 * value(result, "loss barrier on the line")
    assert set(curve(result, "test error on the curve")) == {"the line", "the curve"}


def test_a_regression_has_losses_for_errors(tmp_path: Path) -> None:
    data = task("regression")
    net = network(data)
    write_weights(WeightTree.of(network(data, seed=1)), tmp_path / "o.safetensors")
    result = evaluate(LinearPath(other=str(tmp_path / "o.safetensors"), points=3), net, data)
    test = data.split("test").data
    expected = (net(test.batch().x)[:, 0] - test.labels).square().mean().item()
    assert curve(result, "test loss on the line")[AS_THEY_ARE][0] == pytest.approx(expected, rel=1e-5)


def test_curvature_of_a_linear_regression_is_its_second_moment() -> None:
    data = task("regression", weighted=True)
    net = nn.Linear(5, 1, bias=False)
    result = evaluate(Curvature(top=2, draws=50), net, data)
    rows = data.split("train").data
    x, w = rows.batch().x, rows.weight
    assert isinstance(x, torch.Tensor)
    assert w is not None
    moment = 2 * (x.double() * (w.double() / w.double().sum())[:, None]).T @ x.double()
    expected = torch.linalg.eigvalsh(moment).flip(0)
    for name in ("hessian", "gauss-newton"):
        assert value(result, f"{name} eigenvalue 1") == pytest.approx(expected[0].item(), rel=1e-6)
        assert value(result, f"{name} eigenvalue 2") == pytest.approx(expected[1].item(), rel=1e-6)
        (trace,) = [m for m in result.measurements if m.metric == f"{name} trace"]
        assert trace.low is not None
        assert trace.high is not None
        assert trace.low - 1e-9 <= moment.trace().item() <= trace.high + 1e-9
    (shared,) = [a for a in result.artifacts if isinstance(a, Matrix)]
    assert shared.rows == ("north", "south")
    assert shared.values[0][0] == pytest.approx(1.0)


def test_a_network_without_a_second_derivative_is_one_line() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient

    class Opaque(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Once.apply(super().forward(x))  # type: ignore[no-any-return, no-untyped-call]

    with pytest.raises(UserError, match="curvature: torch cannot differentiate this network twice"):
        evaluate(Curvature(), Opaque(5, 3), task())


def test_slices_pass_through_the_network() -> None:
    data = task()
    net = network(data)
    result = evaluate(LossSlices(directions=2, points=5, grid=3), net, data)
    rows = data.split("train").data
    loss = nn.functional.cross_entropy(net(rows.batch().x), rows.labels).item()
    along = curve(result, "loss along random directions")
    assert len(along) == 2
    assert all(ys[2] == pytest.approx(loss, rel=1e-5) for ys in along.values())
    (plane,) = [a for a in result.artifacts if isinstance(a, Matrix)]
    assert plane.values[1][1] == pytest.approx(loss, rel=1e-5)
    assert value(result, "rise of the loss at half a filter's length") > 0


def test_other_weights_are_refused_in_one_line_and_estimators_have_none(tmp_path: Path) -> None:
    data = task()
    write_weights(WeightTree.of(MLP(hidden=(17,)).build((5,), 3)), tmp_path / "o.safetensors")
    for cls in (LinearPath, CurvedPath):
        with pytest.raises(UserError, match=r"different architectures: features.1.weight is \(17, 5\) and \(16, 5\)"):
            evaluate(cls(other=str(tmp_path / "o.safetensors")), network(data, steps=1), data)
        with pytest.raises(UserError, match="missing, truncated or damaged"):
            evaluate(cls(other=str(tmp_path / "nothing.safetensors")), network(data, steps=1), data)
    predictor = EstimatorPredictor(object(), data.kind, data.classes)
    for evaluation in (LinearPath(other="x"), CurvedPath(other="x"), Curvature(), LossSlices()):
        assert evaluation.evaluate(predictor, data, np.random.default_rng(0)) == Result()
