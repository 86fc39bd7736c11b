from __future__ import annotations

import pytest
import torch

from holdfast.losses import (
    cross_entropy,
    default_loss,
    generalized_cross_entropy,
    half_squared_error,
    squared_error,
)


def test_cross_entropy_is_minus_the_log_of_the_labels_probability() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    expected = -torch.stack([probabilities[0, 2], probabilities[1, 1]]).log()
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([2, 1])), expected)


def test_one_logit_is_the_difference_of_two() -> None:
    z, y = torch.randn(9, 1, dtype=torch.float64), torch.arange(9) % 2
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    torch.testing.assert_close(cross_entropy(z, y), cross_entropy(two, y))


def test_squared_errors() -> None:
    outputs, y = torch.tensor([[1.0], [4.0]]), torch.tensor([3.0, 3.5])
    assert squared_error(outputs, y).tolist() == [4, 0.25]
    assert half_squared_error(outputs, y).tolist() == [2, 0.125]


@pytest.mark.parametrize(("kind", "loss"), [("classification", cross_entropy), ("regression", squared_error)])
def test_each_kind_has_its_loss(kind: str, loss: object) -> None:
    assert default_loss(kind) is loss


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_generalized_cross_entropy_is_its_formula_and_its_gradient_that_of_cross_entropy_times_p(
    q: float, outputs: int
) -> None:
    torch.manual_seed(0)
    logits = 4 * torch.randn(50, outputs, dtype=torch.float64)
    logits.requires_grad_()
    y = torch.randint(max(outputs, 2), (50,))
    p = (-cross_entropy(logits, y)).exp()
    losses = generalized_cross_entropy(logits, y, q)
    torch.testing.assert_close(losses, (1 - p**q) / q)
    (own,) = torch.autograd.grad(losses.sum(), logits)
    (of_entropy,) = torch.autograd.grad(((p**q).detach() * cross_entropy(logits, y)).sum(), logits)
    torch.testing.assert_close(own, of_entropy, rtol=1e-6, atol=1e-12)


def test_the_truncated_loss_is_constant_where_the_label_is_improbable() -> None:
    p = torch.tensor([0.9, 0.6, 0.5, 0.2, 1e-30], dtype=torch.float64)
    logits = torch.stack([p.log(), torch.log1p(-p)], dim=1).requires_grad_()
    y = torch.zeros(5, dtype=torch.int64)
    losses = generalized_cross_entropy(logits, y, 0.7, least=0.5)
    assert losses.tolist() == pytest.approx([(1 - max(v, 0.5) ** 0.7) / 0.7 for v in p.tolist()])
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad[3:].abs().max() == 0
    assert logits.grad[:2, 1].tolist() == pytest.approx([v**0.7 * (1 - v) for v in (0.9, 0.6)])


def test_generalized_cross_entropy_tends_to_cross_entropy_and_is_finite_for_hopeless_rows() -> None:
    logits = torch.tensor([[0.3, -1.0], [2000.0, 0.0]], requires_grad=True)
    y = torch.tensor([0, 1])
    torch.testing.assert_close(generalized_cross_entropy(logits[:1], y[:1], 1e-6), cross_entropy(logits[:1], y[:1]))
    loss = generalized_cross_entropy(logits, y).sum()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
