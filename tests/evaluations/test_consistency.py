"""The evaluation consistency: what it measures, what it leaves out and says so, and what it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.core.artifacts import Curve, Matrix, Table
from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Measurement, Result
from holdfast.core.predictors import EstimatorPredictor, ModulePredictor
from holdfast.core.task import Kind, Split, TaskData
from holdfast.evaluations.consistency import Consistency
from holdfast.models.mlp import MLP
from holdfast.weights import log_det_gap, quadratic_inconsistency

SEARCH, QUADRATIC = "inconsistency / epsilon, search", "inconsistency / epsilon, quadratic"


def task(kind: Kind, environments: int = 3, n: int = 120) -> TaskData:
    """Inputs of unequal spread, from environments of unequal sizes, the second the smallest."""
    rng = torch.Generator().manual_seed(0)
    codes = (torch.arange(n) % 7).clamp(max=5) % environments
    x = torch.randn(n, 3, generator=rng) * torch.tensor([[1.0, 0.2, 1.0], [0.2, 1.0, 1.0], [1.0, 1.0, 0.2]])[codes]
    y = x[:, 0] + x[:, 1] if kind == "regression" else x.argmax(1)
    names = ("north", "south", "east")[:environments]
    classes = ("a", "b", "c") if kind == "classification" else ()
    data = Dataset(x, y, Column(codes, names))
    return TaskData(kind, (Split("train", "train", data),), MLP(hidden=(8,)), steps=1, batch_size=8, classes=classes)


def evaluate(evaluation: Consistency, net: nn.Module, data: TaskData, seed: int = 0) -> Result:
    predictor = ModulePredictor(net, data.kind, data.classes)
    return evaluation.evaluate(predictor, data, np.random.default_rng(seed))


def number(result: Result, metric: str) -> Measurement:
    (found,) = [m for m in result.measurements if m.metric == metric]
    assert not found.higher_is_better
    return found


def artifact(result: Result, name: str) -> Any:
    (found,) = [a for a in result.artifacts if a.name == name]
    return found


@pytest.fixture(scope="module")
def linear() -> tuple[nn.Module, TaskData, torch.Tensor]:
    """The best linear model of a target that it can fit, with the environments' curvatures 2·E[x xᵀ]."""
    data = task("regression")
    net = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 1.0, 0.0]]))
    rows = data.split("train").data
    parts = [rows.take((rows.environment.codes == code).nonzero()[:, 0]).x.double() for code in range(3)]  # type: ignore[union-attr]
    return net, data, torch.stack([2 * x.T @ x / len(x) for x in parts])


def test_a_linear_regression_has_its_closed_form(linear: tuple[nn.Module, TaskData, torch.Tensor]) -> None:
    net, data, curvatures = linear
    evaluation = Consistency(bound="norm", radius=50.0, damping=1e-9, epsilon=0.001, steps=100)
    result = evaluate(evaluation, net, data)
    expected = quadratic_inconsistency(curvatures, 0.001)
    names = ("north", "south", "east")
    least = f"{names[expected.pair[0]]} → {names[expected.pair[1]]}"
    assert number(result, QUADRATIC).value == pytest.approx(expected.value / 0.001, rel=1e-6)
    assert least in number(result, QUADRATIC).note
    assert number(result, SEARCH).value == pytest.approx(expected.value / 0.001, rel=0.02)
    assert least in number(result, SEARCH).note
    gap = log_det_gap(curvatures)
    for kind in ("full", "Kronecker"):
        assert number(result, f"log-det gap per weight, {kind}").value == pytest.approx(gap / 3, rel=1e-6)
    assert 0 < number(result, "log-det gap per weight, diagonal").value < gap / 3
    matrix = artifact(result, "inconsistency of each two environments")
    np.testing.assert_allclose(matrix.values, expected.matrix / 0.001, rtol=0.02)
    assert result.findings[0].subject == least


def test_the_unit_of_curvature_is_the_length_of_the_weights(
    linear: tuple[nn.Module, TaskData, torch.Tensor],
) -> None:
    net, data, curvatures = linear
    result = evaluate(Consistency(radius=0.5, steps=1), net, data)
    damping = 2 * 0.01 / 0.5**2
    gap = log_det_gap(2 * curvatures, damping)  # ‖θ*‖² = 2
    for kind in ("full", "Kronecker"):
        assert number(result, f"log-det gap per weight, {kind}").value == pytest.approx(gap / 3, rel=1e-6)
    sizes = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    quadratic = quadratic_inconsistency(sizes @ curvatures @ sizes, 0.01, damping).value / 0.01
    assert number(result, QUADRATIC).value == pytest.approx(quadratic, rel=1e-6)
    assert (
        f"the damping of curvatures {damping:.3g}"
        in artifact(result, "consistency of the training environments").caption
    )


def test_the_curves_show_one_loss_that_stays_and_one_that_does_not() -> None:
    data = task("classification", environments=2)
    torch.manual_seed(0)
    net = data.model.build(data.input_shape, data.outputs)
    result = evaluate(Consistency(), net, data)
    kept, target = result.findings[0].subject.split(" → ")
    path = artifact(result, "losses on the way to the least consistent weights")
    line = artifact(result, "losses along the direction of least consistency")
    assert isinstance(path, Curve)
    assert set(path.series) == set(line.series) == {"north", "south"}
    losses = np.array(path.series[kept][1])
    assert np.abs(losses - losses[0]).max() <= 0.01
    for name in (kept, target):
        assert line.series[name][1][0] == pytest.approx(path.series[name][1][0])
        assert line.series[name][1][-1] == pytest.approx(path.series[name][1][-1])
    assert path.series[target][1][-1] - path.series[target][1][0] > 0.1
    found = abs(path.series[target][1][-1] - losses[0]) / 0.01
    assert number(result, SEARCH).value == pytest.approx(found)
    matrix = artifact(result, "inconsistency of each two environments")
    assert isinstance(matrix, Matrix)
    assert max(map(max, matrix.values)) == pytest.approx(found)
    sentence = result.findings[0].sentence
    assert (
        f"the loss of {target!r} from {path.series[target][1][0]:.3g} to {path.series[target][1][-1]:.3g}" in sentence
    )


def test_the_same_seed_gives_the_same_numbers() -> None:
    data = task("classification", environments=2)
    torch.manual_seed(0)
    net = data.model.build(data.input_shape, data.outputs)
    one, other = (evaluate(Consistency(max_rows=40, steps=5, restarts=3), net, data, seed=3) for _ in range(2))
    assert one == other


def test_what_a_network_is_too_large_or_too_deep_for_is_said() -> None:
    data = task("classification", environments=2)
    large = MLP(hidden=(300,)).build(data.input_shape, data.outputs)
    normed = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    result = evaluate(Consistency(steps=1), large, data)
    for metric in (QUADRATIC, "log-det gap per weight, full"):
        assert np.isnan(number(result, metric).value)
        assert number(result, metric).note == "left out: the network has 2,103 weights, more than 1,500"
    assert "by the layers features.1" in number(result, "log-det gap per weight, Kronecker").note
    result = evaluate(Consistency(steps=1), normed, data)
    assert np.isnan(number(result, "log-det gap per weight, Kronecker").value)
    assert "this one has 1.weight" in number(result, "log-det gap per weight, Kronecker").note
    assert number(result, "log-det gap per weight, full").value > 0


def test_the_largest_environments_are_compared() -> None:
    data = task("regression")
    result = evaluate(Consistency(max_environments=2, steps=2), nn.Linear(3, 1), data)
    assert artifact(result, "inconsistency of each two environments").rows == ("north", "east")
    table = artifact(result, "consistency of the training environments")
    assert isinstance(table, Table)
    assert "1 smaller environments are left out" in table.caption
    assert "Epsilon is 0.01" in table.caption
    assert "the radius 1 times each weight's own size" in table.caption


def test_one_environment_is_nothing_to_compare() -> None:
    data = task("regression", environments=1)
    result = evaluate(Consistency(), nn.Linear(3, 1), data)
    (found,) = result.measurements
    assert np.isnan(found.value)
    assert "one environment only" in found.note
    assert not result.artifacts


def test_estimators_have_no_weights_and_diverged_ones_are_refused() -> None:
    data = task("classification")
    predictor = EstimatorPredictor(object(), data.kind, data.classes)
    assert Consistency().evaluate(predictor, data, np.random.default_rng(0)) == Result()
    for value in (float("nan"), float("inf")):
        net = nn.Linear(3, 3)
        with torch.no_grad():
            net.weight[0, 0] = value
        with pytest.raises(UserError, match="weight hold values that are not finite"):
            evaluate(Consistency(), net, data)


def test_networks_are_left_as_they_were() -> None:
    data = task("classification", environments=2)
    net = data.model.build(data.input_shape, data.outputs).train()
    before = {name: w.clone() for name, w in net.state_dict().items()}
    evaluate(Consistency(steps=3), net, data)
    assert net.training
    assert all(torch.equal(before[name], w) for name, w in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert dataclasses.is_dataclass(Consistency)
