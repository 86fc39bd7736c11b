from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.losses import environment_means


@given(st.integers(1, 30), st.integers(0, 10_000), st.booleans())
def test_means_codes_and_shares(n: int, seed: int, weighted: bool) -> None:
    rng = torch.Generator().manual_seed(seed)
    losses = torch.randn(n, generator=rng, dtype=torch.float64)
    codes = torch.randint(-1, 4, (n,), generator=rng)
    weight = torch.rand(n, generator=rng, dtype=torch.float64) + 0.01
    result = environment_means(losses, codes, weight if weighted else None)
    weight = weight if weighted else torch.ones(n, dtype=torch.float64)
    present = sorted(set(codes.tolist()))
    assert result.codes.tolist() == present
    for value, share, code in zip(result.values, result.shares, present, strict=True):
        own = codes == code
        torch.testing.assert_close(value, (weight[own] * losses[own]).sum() / weight[own].sum())
        torch.testing.assert_close(share, weight[own].sum() / weight.sum())


def test_gradient_of_a_mean_is_the_rows_share_in_its_environment() -> None:
    losses = torch.ones(4, dtype=torch.float64, requires_grad=True)
    means = environment_means(losses, torch.tensor([0, 1, 1, 1]), torch.tensor([5.0, 1.0, 1.0, 2.0]).double())
    (gradient,) = torch.autograd.grad(means.values[1], losses)
    assert gradient.tolist() == [0, 0.25, 0.25, 0.5]


def test_an_environment_of_weightless_rows_has_mean_zero_and_no_share() -> None:
    means = environment_means(torch.tensor([3.0, 4.0]), torch.tensor([0, 1]), torch.tensor([0.0, 2.0]))
    assert means.values.tolist() == [0, 4]
    assert means.shares.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_precision_of_the_losses_is_kept(dtype: torch.dtype) -> None:
    means = environment_means(torch.ones(3, dtype=dtype), torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=dtype))
    assert means.values.dtype == means.shares.dtype == dtype
