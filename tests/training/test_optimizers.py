"""Where weight decay enters relative to the mask and to Adam decides its force by orders of magnitude."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.task import TrainingView
from holdfast.gradients import AndMask
from holdfast.models.linear import Linear
from holdfast.training import SGD, Adam, AdamW, GradientStep, Optimizer, Trainer

LR = 0.01


def always_masked(optimizer: Optimizer, steps: int = 1) -> float:
    """A weight that starts at 1 and whose two environments always want opposite things, after some steps."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)

    def tug(outputs: Tensor, y: Tensor) -> Tensor:
        return outputs.squeeze(1) * y

    data = Dataset(torch.ones(2, 1), torch.tensor([1.0, -1.0]), Column(torch.tensor([0, 1]), ("a", "b")))
    view = TrainingView("regression", (), 1, (1,), Linear(), {"train": data})
    step = GradientStep(loss=tug, aggregator=AndMask(), optimizer=optimizer)
    optimizers = step.setup({"model": model}, view, Trainer())
    for _ in range(steps):
        step({"model": model}, data.batch(), optimizers, 0.0)
    return model.weight.item()


@pytest.mark.parametrize("weight_decay", [1e-4, 1e-2, 1.0])
def test_coupled_adam_prunes_masked_weights_at_the_learning_rate_whatever_the_decay(weight_decay: float) -> None:
    assert always_masked(Adam(lr=LR, weight_decay=weight_decay)) == pytest.approx(1 - LR, abs=LR * 1e-3)
    assert always_masked(Adam(lr=LR, weight_decay=weight_decay), steps=20) == pytest.approx(1 - 20 * LR, abs=LR)


@pytest.mark.parametrize("weight_decay", [1e-4, 1e-2, 1.0])
def test_decoupled_decay_shrinks_by_rate_times_decay(weight_decay: float) -> None:
    assert always_masked(AdamW(lr=LR, weight_decay=weight_decay)) == pytest.approx(1 - LR * weight_decay, abs=1e-7)


@pytest.mark.parametrize("steps", [1, 5])
def test_sgd_shrinks_geometrically(steps: int) -> None:
    assert always_masked(SGD(lr=LR, weight_decay=0.5), steps=steps) == pytest.approx((1 - LR * 0.5) ** steps)


def test_without_decay_a_masked_weight_stays() -> None:
    for optimizer in (SGD(lr=LR), Adam(lr=LR), AdamW(lr=LR, weight_decay=0.0)):
        assert always_masked(optimizer, steps=3) == 1


def test_l1_is_not_masked_and_goes_through_the_optimizer() -> None:
    assert always_masked(SGD(lr=LR, l1=0.3)) == pytest.approx(1 - LR * 0.3)
    assert always_masked(Adam(lr=LR, l1=1e-4)) == pytest.approx(1 - LR, abs=LR * 1e-3)


def test_momentum_is_passed_on() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = SGD(lr=0.1, momentum=0.5).build([{"params": [parameter]}])
    for _ in range(2):
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert parameter.item() == pytest.approx(1 - 0.1 - 0.15)
