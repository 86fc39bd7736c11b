"""Gradients in the last layer against autograd, and what a projection keeps of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from holdfast.heads.gradients import last_layer_gradients, projected_gradients


def rows(n: int = 5, size: int = 4, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    h, weight = (torch.randn(k, size, generator=rng, dtype=torch.float64) for k in (n, classes))
    return h, weight, torch.randint(classes, (n,), generator=rng)


@pytest.mark.parametrize("seed", range(3))
def test_closed_form_is_what_autograd_says_of_each_row(seed: int) -> None:
    h, weight, y = rows(seed=seed)
    weight.requires_grad_()
    losses = torch.nn.functional.cross_entropy(h @ weight.T, y, reduction="none")
    wanted = [torch.autograd.grad(loss, weight, retain_graph=True)[0].flatten() for loss in losses]
    torch.testing.assert_close(last_layer_gradients(h, (h @ weight.T).detach(), y), torch.stack(wanted))


def test_a_wide_projection_keeps_inner_products() -> None:
    h, weight, y = rows(n=6, size=40, classes=30)
    outputs = h @ weight.T / 6
    whole, projected = (
        last_layer_gradients(h, outputs, y),
        projected_gradients(h, outputs, y, width=1000, seed=0),
    )
    assert projected.shape == (6, 1000)
    several = [projected_gradients(h, outputs, y, width=1000, seed=seed) for seed in range(40)]
    mean = torch.stack([p @ p.T for p in several]).mean(dim=0)
    scale = whole.norm(dim=1)
    assert ((mean - whole @ whole.T) / scale / scale[:, None]).abs().max() < 0.05


def test_narrow_gradients_are_not_projected() -> None:
    h, weight, y = rows()
    assert torch.equal(projected_gradients(h, h @ weight.T, y, 12, 0), last_layer_gradients(h, h @ weight.T, y))
    assert projected_gradients(h, h @ weight.T, y, 11, 0).shape == (5, 11)
