from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.losses import InvariantRisk, Loss, SquaredOutputs, VarianceOfRisks, cross_entropy, squared_error
from holdfast.training import StepContext

CASES = [pytest.param(cross_entropy, 3, id="classes"), pytest.param(squared_error, 1, id="numbers")]


def network(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs)).double()


def batch(environment: Tensor, loss: Loss, weight: Tensor | None = None) -> Batch:
    rng, n = torch.Generator().manual_seed(1), len(environment)
    x = torch.randn(n, 4, generator=rng, dtype=torch.float64)
    y = torch.randint(3, (n,), generator=rng)
    return Batch(x, y if loss is cross_entropy else y.double(), environment, {}, weight, torch.arange(n))


def context(model: nn.Module, rows: Batch, loss: Loss) -> StepContext:
    outputs = model(rows.x)
    return StepContext(rows, outputs, {}, loss(outputs, rows.labels), loss, 0, 0.0)


def gradient(model: nn.Module, value: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])


def dummy_scale_penalty(model: nn.Module, rows: Batch, loss: Loss) -> Tensor:
    """The definition: products of derivatives in a dummy scale, of the even and the odd rows of each environment."""
    products = []
    for code in rows.environment.unique():
        own = (rows.environment == code).nonzero()[:, 0]
        if len(own) == 1:
            products.append(torch.zeros((), dtype=torch.float64))
            continue
        slopes = []
        for half in (own[::2], own[1::2]):
            scale = torch.ones((), dtype=torch.float64, requires_grad=True)
            weight = torch.ones(len(half)) if rows.weight is None else rows.weight[half]
            losses = loss(scale * model(rows.x[half]), rows.labels[half])
            mean = (weight * losses).sum() / weight.sum()
            slopes += torch.autograd.grad(mean, scale, create_graph=True)
        products.append(slopes[0] * slopes[1])
    return torch.stack(products).mean()


ENVIRONMENTS = {
    "equal": torch.arange(12) % 3,
    "unequal, shuffled, unknown": torch.tensor([4, -1, 4, 0, 4, -1, 0, 4, 4, -1, 0, 0]),
    "one row": torch.tensor([0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    "one environment": torch.zeros(12, dtype=torch.int64),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
@pytest.mark.parametrize(("loss", "outputs"), CASES)
def test_irm_is_the_derivative_in_a_dummy_scale(loss: Loss, outputs: int, environment: Tensor, weighted: bool) -> None:
    model = network(outputs)
    rows = batch(environment, loss, torch.arange(1.0, 13).double() if weighted else None)
    expected = dummy_scale_penalty(model, rows, loss)
    value = InvariantRisk()(context(model, rows, loss))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient(model, value), gradient(model, expected))


def test_irm_is_unbiased() -> None:
    """Over all orders of four rows its mean is the mean product of the slopes of two different rows."""
    model, rows = network(3), batch(torch.zeros(4, dtype=torch.int64), cross_entropy)
    outputs = model(rows.x).detach()
    slopes = ((outputs.softmax(1) - torch.eye(3)[rows.labels]) * outputs).sum(1)
    expected = np.mean([float(slopes[i] * slopes[j]) for i, j in itertools.permutations(range(4), 2)])
    values = []
    for order in map(list, itertools.permutations(range(4))):
        shuffled = Batch(rows.x[order], rows.labels[order], rows.environment, {}, None, rows.index)
        values.append(InvariantRisk()(context(model, shuffled, cross_entropy)).item())
    assert np.mean(values) == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "outputs"), CASES)
def test_v_rex_is_the_biased_variance(loss: Loss, outputs: int) -> None:
    model = network(outputs)
    rows = batch(ENVIRONMENTS["unequal, shuffled, unknown"], loss)
    ctx = context(model, rows, loss)
    means = [ctx.losses[rows.environment == code].mean().item() for code in (-1, 0, 4)]
    assert VarianceOfRisks()(ctx).item() == pytest.approx(np.var(means))


def test_v_rex_of_one_environment_is_zero() -> None:
    model = network(3)
    rows = batch(ENVIRONMENTS["one environment"], cross_entropy)
    assert VarianceOfRisks()(context(model, rows, cross_entropy)).item() == 0


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 3.0]], ids=["equal", "weighted"])
def test_squared_outputs_are_the_rows_mean_square(weights: list[float] | None) -> None:
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    rows = batch(torch.zeros(3, dtype=torch.int64), cross_entropy, weight)
    outputs = torch.tensor([[1.0, 3.0], [9.0, 9.0], [0.0, 2.0]], dtype=torch.float64)
    found = SquaredOutputs()(StepContext(rows, outputs, {}, torch.zeros(3), cross_entropy, 0, 0.0))
    assert found.item() == pytest.approx((5 + 81 + 2) / 3 if weights is None else (5 + 3 * 2) / 4)
