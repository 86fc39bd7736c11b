"""Inferred environments against all assignments, and against the gradient ascent of the paper."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from holdfast.losses import cross_entropy, inferred_environments, scale_slopes


def rows(n: int, outputs: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(max(outputs, 2), (n,), generator=rng)
    return 2 * torch.randn(n, outputs, generator=rng, dtype=torch.float64), y


def penalty(outputs: Tensor, y: Tensor, q: Tensor) -> Tensor:
    """Half the sum of the squared gradients in a dummy scale, by the definition."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    losses = cross_entropy(scale * outputs, y)
    gradients = [torch.autograd.grad((w * losses).mean(), scale, create_graph=True)[0] for w in (q, 1 - q)]
    return torch.stack(gradients).square().sum() / 2


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_slopes_are_derivatives_in_a_scale(outputs: int) -> None:
    x, y = rows(6, outputs, 0)
    h = 1e-6
    numeric = (cross_entropy((1 + h) * x, y) - cross_entropy((1 - h) * x, y)) / (2 * h)
    torch.testing.assert_close(scale_slopes(x, y), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_no_assignment_has_a_larger_penalty(outputs: int, seed: int) -> None:
    x, y = rows(9, outputs, seed)
    found = penalty(x, y, inferred_environments(x, y).double())
    every = [penalty(x, y, torch.tensor(q, dtype=torch.float64)) for q in itertools.product((0.0, 1.0), repeat=9)]
    torch.testing.assert_close(found, torch.stack(every).max())


def test_gradient_ascent_on_soft_assignments_ends_there_or_with_the_names_exchanged() -> None:
    x, y = rows(30, 3, 5)
    torch.manual_seed(0)
    logits = torch.randn(30, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(3000):
        optimizer.zero_grad()
        (-penalty(x, y, logits.sigmoid())).backward()
        optimizer.step()
    found, clear = (logits > 0).long(), scale_slopes(x, y).abs() > 0.02
    wanted = inferred_environments(x, y)
    assert torch.equal(found[clear], wanted[clear]) or torch.equal(found[clear], 1 - wanted[clear])


def test_a_model_that_reads_a_shortcut_gives_where_it_is_wrong() -> None:
    y = torch.arange(40) % 2
    shortcut = torch.where(torch.arange(40) < 6, 1 - y, y)
    logits = 1.5 * torch.nn.functional.one_hot(shortcut, 2).double()
    assert torch.equal(inferred_environments(logits, y), (shortcut != y).long())
