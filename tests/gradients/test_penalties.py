"""Penalties against one gradient at a time."""

from __future__ import annotations

import torch
from gradient_checks import squares
from torch import nn

from holdfast.gradients import fishr, head_gradient_variances, inter_environment_alignment

GROUPS = torch.tensor([1, 1, 0, 0, 0, 2, 2])


def test_variances_of_the_head_equal_those_of_single_gradients_and_can_be_differentiated() -> None:
    trunk, head = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double(), nn.Linear(4, 2).double()
    x = torch.randn(7, 3).double()
    features = trunk(x)
    outputs = head(features)
    losses = squares(outputs)
    variances, codes = head_gradient_variances(losses, outputs, features, GROUPS)
    assert codes.tolist() == [0, 1, 2]
    single = []
    for loss in losses:
        weight, bias = torch.autograd.grad(loss, [head.weight, head.bias], create_graph=True)
        single.append(torch.cat([weight, bias[:, None]], 1).flatten())
    rows = torch.stack(single)
    wanted = torch.stack([rows[e == GROUPS].var(0, correction=0) for e in range(3)])
    assert torch.allclose(variances, wanted)
    found = torch.autograd.grad(fishr(variances), trunk[0].weight, retain_graph=True)[0]
    distance = (wanted - wanted.mean(0)).square().sum(1).mean()
    assert torch.allclose(found, torch.autograd.grad(distance, trunk[0].weight)[0])


def test_alignment_of_quadratics() -> None:
    w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    targets = torch.randn(4, 2, dtype=torch.float64)
    losses = (w - targets).square().sum(1)
    penalty = inter_environment_alignment(losses, [w])
    assert torch.allclose(penalty, (4 * (targets - targets.mean(0)).square()).sum())
    (gradient,) = torch.autograd.grad(penalty, w)
    assert torch.allclose(gradient, torch.zeros(2, dtype=torch.float64), atol=1e-12)
