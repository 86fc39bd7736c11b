"""The step that trains a biased network and one on its failures: which loss moves what, and by how much."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Batch, Column, Dataset
from holdfast.core.task import TrainingView
from holdfast.losses import cross_entropy, generalized_cross_entropy
from holdfast.models.mlp import MLP
from holdfast.training import SGD, Budget, FailureStep, MemoryStore, Trainer

N = 9


def view() -> TrainingView:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.randn(N, 4, generator=rng), torch.arange(N) % 3
    rows = Dataset(x, y, Column.constant(N), index=torch.arange(N) + 5)
    return TrainingView("classification", ("a", "b", "c"), 3, (4,), MLP(hidden=(6,)), {"train": rows})


def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {name: view().model.build((4,), 3) for name in ("model", "biased")}


def step_of(networks: dict[str, nn.Module], lr: float = 0.1) -> tuple[FailureStep, dict[str, torch.optim.Optimizer]]:
    step = FailureStep(q=0.7, memory=0.5, optimizer=SGD(lr=lr))
    return step, dict(step.setup(networks, view(), Trainer()))


def batch(weight: Tensor | None = None) -> Batch:
    rows = view().train.batch(torch.arange(N))
    return Batch(rows.x, rows.y, rows.environment, {}, weight, rows.index)


@pytest.mark.parametrize("weight", [None, torch.linspace(0, 2, N)], ids=["equal", "weighted"])
def test_an_update_descends_the_losses_of_the_paper(weight: Tensor | None) -> None:
    networks, rows = models(), batch(weight)
    w = torch.ones(N) if weight is None else weight
    before = copy.deepcopy(networks)
    step, optimizers = step_of(networks)
    step(networks, rows, optimizers, 0.0)
    biased, main = (cross_entropy(before[name](rows.x), rows.labels).detach() for name in ("biased", "model"))
    largest = [torch.stack([losses[(rows.labels == c) & (w > 0)].max() for c in range(3)]) for losses in (biased, main)]
    b, m = biased / largest[0][rows.labels], main / largest[1][rows.labels]
    wanted = {
        "biased": (w * generalized_cross_entropy(before["biased"](rows.x), rows.labels, 0.7)).sum() / w.sum(),
        "model": (w * b / (b + m) * cross_entropy(before["model"](rows.x), rows.labels)).sum() / w.sum(),
    }
    for name, loss in wanted.items():
        gradients = torch.autograd.grad(loss, list(before[name].parameters()))
        for p, old, g in zip(networks[name].parameters(), before[name].parameters(), gradients, strict=True):
            torch.testing.assert_close(p, old - 0.1 * g)


def test_the_second_update_remembers_the_first() -> None:
    networks, rows = models(), batch()
    step, optimizers = step_of(networks, lr=0.0)
    step(networks, rows, optimizers, 0.0)
    first = step.weights.biased.averages.read(rows.index).clone()
    networks["biased"] = models()["model"]
    step(networks, rows, optimizers, 0.5)
    second = cross_entropy(networks["biased"](rows.x), rows.labels).detach()
    torch.testing.assert_close(step.weights.biased.averages.read(rows.index), (first + second) / 2)


def test_a_training_that_was_stopped_ends_with_the_same_bits() -> None:
    def trained(store: MemoryStore, steps: int) -> nn.Module:
        trainer = Trainer(budget=Budget(steps), batch_size=4, store=store, checkpoint_seconds=0)
        return trainer.fit(models(), view(), FailureStep(q=0.7, memory=0.7, optimizer=SGD(lr=0.1))).model

    class Stop(Exception):
        pass

    whole = trained(MemoryStore(), 12)
    store = MemoryStore()
    step = FailureStep(q=0.7, memory=0.7, optimizer=SGD(lr=0.1))
    original = step.forward

    def stopping(*args: object) -> object:
        if step.updates == 7:
            raise Stop
        return original(*args)  # type: ignore[arg-type]

    step.forward = stopping  # type: ignore[assignment,method-assign]
    with pytest.raises(Stop):
        Trainer(budget=Budget(12), batch_size=4, store=store, checkpoint_seconds=0).fit(models(), view(), step)
    resumed = trained(store, 12)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
