"""The four rows, and that the card's numbers come out of a plain loop."""

from __future__ import annotations

import pytest
import torch

from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task
from holdfast.tasks.linreg_patchwork import LinregPatchwork


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_rows_are_environments(count: int) -> None:
    task = LinregPatchwork(train_environments=count).load()
    assert task.kind == "regression"
    assert task.outputs == 1
    assert [len(split.data) for split in task.splits] == [count, 4 - count][: len(task.splits)]
    for split in task.splits:
        x, rows = split.data.batch().x, split.data.environment.codes
        assert isinstance(x, torch.Tensor)
        assert x[:, :4].argmax(dim=1).equal(rows)
        assert x.sum(dim=1).tolist() == pytest.approx([3.3] * len(rows))
        assert split.shifted == (split.name == "test")


def train(mask: bool) -> tuple[torch.Tensor, float]:
    """The published recipe: ½(xθ − y)², lr 0.3 · 0.9995^t, decoupled decay 0.01, 1000 steps; the last weights."""
    task = LinregPatchwork().load()
    rows, left_out = (task.split(name).data.batch() for name in ("train", "test"))
    (theta,) = [p.detach()[0].double() for p in task.model.build(task.input_shape, 1).parameters()]
    x, y = rows.x.double(), rows.labels.double()  # type: ignore[union-attr]
    for step in range(1000):
        rate = 0.3 * 0.9995**step
        gradients = (x @ theta - y)[:, None] * x
        agree = gradients.sign().sum(dim=0).abs() == len(x)
        theta = theta - rate * gradients.mean(dim=0) * (agree if mask else 1.0) - 0.01 * rate * theta
    loss = 0.5 * (left_out.x.double() @ theta - left_out.labels) ** 2  # type: ignore[union-attr]
    return theta, loss.mean().item()


def test_averaging_fails_on_rows_left_out_and_agreement_does_not() -> None:
    averaged, loss_averaged = train(mask=False)
    masked, loss_masked = train(mask=True)
    assert loss_averaged >= 0.4
    assert loss_masked <= 0.02
    assert averaged[4] <= 0.1
    assert 2.6 <= masked[4] <= 3.4


@pytest.mark.parametrize("value", ["0", "5", "two"])
def test_refusals(value: str) -> None:
    with pytest.raises(UserError):
        create(Task, f"linreg-patchwork:train_environments={value}")
