"""Geometric mean, SAND-mask and AndAdam against closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from holdfast.gradients import AndAdam, AndMask, GeometricMean, SandMask, Stats
from holdfast.gradients.aggregators import Aggregator


def aggregate(aggregator: Aggregator, gradients: Tensor) -> Tensor:
    """Of (E, P) unweighted gradients, weighted 1/E each."""
    total = Stats.of(gradients[0] / len(gradients), aggregator.needs)
    for gradient in gradients[1:]:
        total = total + Stats.of(gradient / len(gradients), aggregator.needs)
    return aggregator({"w": total}, {}).gradients["w"]


@given(environments=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_geometric_mean_is_the_gradient_of_the_geometric_mean_of_curvatures(environments: int, seed: int) -> None:
    torch.manual_seed(seed)
    curvatures = torch.rand(environments, 5, dtype=torch.float64) + 0.01
    distance = torch.randn(5, dtype=torch.float64)
    wanted = curvatures.log().mean(0).exp() * distance
    found = aggregate(GeometricMean(rescale="none"), curvatures * distance)
    assert torch.allclose(found, wanted, rtol=1e-6)


@given(seed=st.integers(0, 99), threshold=st.sampled_from([0.0, 0.2, 0.6, 1.0]))
def test_the_geometric_mean_component_by_component(seed: int, threshold: float) -> None:
    torch.manual_seed(seed)
    g = torch.randn(5, 40, dtype=torch.float64)
    g[torch.rand(5, 40) < 0.2] = 0
    mask = g.sign().sum(0).abs() >= threshold * 5 - 1e-9
    size = (g.abs().where(g != 0, 1e-10).log().mean(0)).exp()
    wanted = mask * g.mean(0).sign() * size / (1e-10 + mask.double().mean())
    assert torch.allclose(aggregate(GeometricMean(threshold), g), wanted, rtol=1e-6)


@given(
    seed=st.integers(0, 99), threshold=st.sampled_from([0.0, 0.3, 0.9]), sharpness=st.sampled_from([1e-2, 1.0, 100.0])
)
def test_the_smooth_mask_component_by_component(seed: int, threshold: float, sharpness: float) -> None:
    torch.manual_seed(seed)
    g = torch.randn(6, 40, dtype=torch.float64)
    weights = torch.tanh(sharpness * (g.sign().mean(0).abs() - threshold) / g.var(0)).clamp_min(0)
    wanted = weights * g.mean(0) / (1e-10 + weights.mean())
    assert torch.allclose(aggregate(SandMask(threshold, sharpness), g), wanted, rtol=1e-6)


def test_a_very_sharp_smooth_mask_is_the_hard_mask() -> None:
    torch.manual_seed(0)
    g = torch.randn(5, 100, dtype=torch.float64)  # |Σ sign| is 1, 3 or 5 of 5
    assert torch.allclose(aggregate(SandMask(0.5, 1e12), g), aggregate(AndMask(0.5), g))


@pytest.mark.parametrize("gradients", [[[2.0], [2.0], [2.0]], [[0.0], [0.0], [0.0]], [[3.0]]])
def test_a_variance_of_zero_is_no_nan(gradients: list[list[float]]) -> None:
    g = torch.tensor(gradients)
    assert torch.allclose(aggregate(SandMask(0.5), g), g.mean(0))
    at_threshold = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    assert torch.isfinite(aggregate(SandMask(0.5), at_threshold)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SandMask(1.0),
        lambda: SandMask(-0.1),
        lambda: SandMask(0.5, 0.0),
        lambda: GeometricMean(2.0),
        lambda: GeometricMean(epsilon=0.0),
        lambda: AndAdam([torch.zeros(1)], betas=(0.9, 0.999, 1.0)),
        lambda: AndAdam([torch.zeros(1)], threshold=1.5),
        lambda: AndAdam([torch.zeros(1)], lr=-1.0),
    ],
)
def test_options_out_of_range(make) -> None:
    with pytest.raises(ValueError, match=r"threshold|sharpness|epsilon|betas|lr"):
        make()


def train(optimizer: torch.optim.Optimizer, weight: Tensor, steps: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return weight.detach()


def start() -> Tensor:
    return torch.linspace(-1, 1, 300).requires_grad_()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_at_threshold_zero_it_is_adam_to_the_bit(decay: float) -> None:
    a, b = start(), start()
    found = train(AndAdam([a], lr=0.01, betas=(0.8, 0.99, 0.5), threshold=0.0, weight_decay=decay), a)
    wanted = train(torch.optim.AdamW([b], lr=0.01, betas=(0.8, 0.99), weight_decay=decay, foreach=False), b)
    assert torch.equal(found, wanted)


def test_the_published_algorithm_step_by_step() -> None:
    a = start()
    found = train(
        AndAdam([a], lr=0.01, betas=(0.5, 0.9, 0.7), threshold=0.4, weight_decay=0.05, bias_correction=False), a
    )
    p = start().detach().double()
    m, v, s = torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        g = torch.randn(p.shape, generator=generator).double()
        m, v, s = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g**2, 0.7 * s + 0.3 * g.sign()
        p = p - 0.01 * 0.05 * p - 0.01 * m * (s.abs() >= 0.4) / (v.sqrt() + 1e-8)
    assert torch.allclose(found.double(), p, atol=1e-4)
    assert not torch.allclose(train(torch.optim.Adam([b := start()], lr=0.01), b).double(), p, atol=1e-2)


def test_an_interrupted_optimizer_goes_on_where_it_stopped() -> None:
    a, b = start(), start()
    wanted = train(AndAdam([a], threshold=0.3), a, 20)
    first = AndAdam([b], threshold=0.3)
    train(first, b, 8)
    second = AndAdam([b], threshold=0.3)
    second.load_state_dict(first.state_dict())
    generator = torch.Generator().manual_seed(0)
    for step in range(20):
        gradient = torch.randn(b.shape, generator=generator)
        if step >= 8:
            b.grad = gradient
            second.step()
    assert torch.equal(b.detach(), wanted)
