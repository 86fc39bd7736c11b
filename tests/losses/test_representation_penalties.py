"""Penalties on what the head reads, on gradients and on risks, against brute force."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.core.data import Batch
from holdfast.core.taps import REPRESENTATION
from holdfast.gradients import fishr, head_gradient_variances
from holdfast.losses import (
    CovarianceAlignment,
    EnvironmentAdversary,
    GradientVariances,
    KernelAlignment,
    QuantileAboveMean,
    environment_means,
    kernel_quantile,
)
from holdfast.losses.alignment import BANDWIDTHS


def context(features: Tensor, environment: Tensor, weight: Tensor | None = None, head: nn.Linear | None = None) -> Any:
    rows = len(features)
    y = torch.arange(rows) % 3
    outputs = features[:, :3] if head is None else head(features)
    losses = F.cross_entropy(outputs, y, reduction="none")
    batch = Batch(features, y, environment, {}, weight, torch.arange(rows))
    means = environment_means(losses, environment, weight)
    return SimpleNamespace(
        batch=batch, features={REPRESENTATION: features}, losses=losses, outputs=outputs, environment_losses=means
    )


def rows(seed: int = 0, n: int = 24) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    environment = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]).repeat(n // 8)
    return torch.randn(n, 5, generator=rng, dtype=torch.float64) + environment[:, None], environment


def covariances_apart(one: Tensor, other: Tensor) -> float:
    covariances = (torch.cov(one.T) - torch.cov(other.T)).square().mean()
    return float((one.mean(0) - other.mean(0)).square().mean() + covariances)


def kernels_apart(one: Tensor, other: Tensor) -> float:
    def mean(a: Tensor, b: Tensor) -> float:
        values = [np.exp(-g * float((x - y).square().sum())) for x in a for y in b for g in BANDWIDTHS]
        return sum(values) / (len(a) * len(b))

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


@pytest.mark.parametrize(
    ("penalty", "apart"), [(CovarianceAlignment(), covariances_apart), (KernelAlignment(), kernels_apart)]
)
class TestAlignment:
    def test_is_the_mean_over_pairs(self, penalty: Any, apart: Any) -> None:
        x, environment = rows()
        parts = [x[environment == e] for e in range(3)]
        expected = np.mean([apart(a, b) for a, b in itertools.combinations(parts, 2)])
        assert float(penalty(context(x, environment))) == pytest.approx(expected, rel=1e-9)

    def test_whole_weights_are_rows_that_occur_as_often(self, penalty: Any, apart: Any) -> None:
        x, environment = rows()
        times = torch.arange(len(x)) % 3
        repeated = penalty(context(x.repeat_interleave(times, 0), environment.repeat_interleave(times)))
        if isinstance(penalty, CovarianceAlignment):  # its divisor is unbiased for weights, not for repeated rows
            return
        assert float(penalty(context(x, environment, times.double()))) == pytest.approx(float(repeated), rel=1e-9)

    def test_rows_without_weight_do_not_count(self, penalty: Any, apart: Any) -> None:
        x, environment = rows()
        weight = (torch.arange(len(x)) % 4 > 0).double()
        kept = weight > 0
        some = penalty(context(x[kept], environment[kept]))
        assert float(penalty(context(x, environment, weight))) == pytest.approx(float(some), rel=1e-9)

    def test_is_zero_where_environments_are_equal_or_one(self, penalty: Any, apart: Any) -> None:
        x, _ = rows()
        twice = penalty(context(torch.cat([x, x]), torch.arange(2).repeat_interleave(len(x))))
        assert float(twice) == pytest.approx(0, abs=1e-12)
        alone = penalty(context(x.requires_grad_(), torch.zeros(len(x), dtype=torch.int64)))
        alone.backward()
        assert float(alone.detach()) == 0


def test_the_adversary_learns_and_misleads() -> None:
    """Its own gradient is that of the cross-entropy; the representation's is turned round and scaled."""
    torch.manual_seed(0)
    x, environment = rows()
    x, environment = x.float().requires_grad_(), environment.clone()
    environment[:2] = -1
    adversary = EnvironmentAdversary(5, 3, strength=0.7)
    loss = F.cross_entropy(adversary.network(x)[2:], environment[2:])
    parameters = [x, *adversary.parameters()]
    plain = torch.autograd.grad(loss, parameters)
    penalty = adversary(context(x, environment))
    torch.testing.assert_close(penalty, loss)
    found = torch.autograd.grad(penalty, parameters)
    torch.testing.assert_close(found[0], -0.7 * plain[0])
    for one, other in zip(found[1:], plain[1:], strict=True):
        torch.testing.assert_close(one, other)


def scipy_quantile(values: np.ndarray, level: float) -> float:
    width = values.std(ddof=1) * (0.75 * len(values)) ** -0.2
    return float(brentq(lambda q: norm.cdf((q - values) / width).mean() - level, values.min() - 9, values.max() + 9))


@pytest.mark.parametrize("level", [0.05, 0.5, 0.75, 0.99])
def test_the_kernel_quantile_is_that_of_the_density(level: float) -> None:
    values = torch.tensor(np.random.default_rng(1).exponential(size=6), requires_grad=True)
    assert kernel_quantile(values, level).item() == pytest.approx(scipy_quantile(values.detach().numpy(), level))
    assert torch.autograd.gradcheck(lambda v: kernel_quantile(v, level), values)


def test_the_quantile_of_one_risk_is_that_risk() -> None:
    for values in (torch.tensor([2.0]), torch.tensor([2.0, 2.0, 2.0])):
        values.requires_grad_()
        found = kernel_quantile(values, 0.9)
        found.backward()
        assert found.item() == 2
        assert values.grad is not None
        assert values.grad.sum() == pytest.approx(1)


def test_quantile_above_mean_and_mean_make_the_quantile() -> None:
    x, environment = rows()
    at = context(x, environment)
    risks = at.environment_losses.values
    total = QuantileAboveMean(0.8)(at) + risks.mean()
    assert float(total) == pytest.approx(scipy_quantile(risks.numpy(), 0.8))


def test_weights_of_rows_in_variances_are_rows_that_occur_as_often() -> None:
    x, environment = rows()
    head = nn.Linear(5, 3).double()
    times = torch.arange(len(x)) % 3
    y = torch.arange(len(x)) % 3

    def variances(x: Tensor, y: Tensor, environment: Tensor, weight: Tensor | None = None) -> Tensor:
        outputs = head(x)
        losses = F.cross_entropy(outputs, y, reduction="none")
        return head_gradient_variances(losses, outputs, x, environment, weight)[0]

    repeated = variances(*(t.repeat_interleave(times, 0) for t in (x, y, environment)))
    torch.testing.assert_close(variances(x, y, environment, times.double()), repeated)


def test_fishr_averages_variances_over_steps() -> None:
    torch.manual_seed(0)
    head = nn.Linear(5, 3).double()
    penalty = GradientVariances(head, 3, memory=0.8).double()
    contexts = [context(*rows(seed), head=head) for seed in (0, 1)]
    first, second = (
        head_gradient_variances(c.losses, c.outputs, c.features[REPRESENTATION], c.batch.environment)[0]
        for c in contexts
    )
    torch.testing.assert_close(penalty(contexts[0]), fishr(first / 0.2))
    torch.testing.assert_close(penalty(contexts[1]), fishr((0.8 * first + 0.2 * second) / 0.2))
