from __future__ import annotations

import pytest
import torch

from holdfast.losses import cross_entropy, default_loss, half_squared_error, squared_error


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
