"""The feature sieve: which loss moves which weights, when it forgets, and that forgetting makes a layer unreadable."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.core.data import Batch, Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.task import TrainingView
from holdfast.methods.feature_sieve import FeatureSieve
from holdfast.models.mlp import MLP
from holdfast.training import SGD, Adam, Budget, SieveStep, Trainer

EARLY = ("features.1.weight", "features.1.bias")
LATE = ("features.3.weight", "features.3.bias", "head.weight", "head.bias")
Names = set[str]


def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    network = MLP(hidden=(6, 5)).build((4,), 3).double()
    return {"model": network, "reader": nn.Sequential(OrderedDict(last=nn.Linear(6, 3))).double()}


def batch(weight: Tensor | None = None) -> Batch:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.randn(9, 4, generator=rng, dtype=torch.float64), torch.arange(9) % 3
    return Batch(x, y, torch.zeros(9, dtype=torch.int64), {}, weight, torch.arange(9))


def view() -> TrainingView:
    rows = Dataset(torch.zeros(9, 4), torch.arange(9) % 3, Column.constant(9))
    return TrainingView("classification", ("a", "b", "c"), 3, (4,), MLP(hidden=(6, 5)), {"train": rows})


def with_gradient(loss: Tensor, nets: dict[str, nn.Module]) -> Names:
    """The parameters that a loss depends on."""
    named = {f"{net}.{name}": p for net, module in nets.items() for name, p in module.named_parameters()}
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def changed_by(before: dict[str, Tensor], nets: dict[str, nn.Module]) -> Names:
    return {name for name, value in weights(nets).items() if not torch.equal(value, before[name])}


def weights(nets: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{net}.{name}": p.detach().clone() for net, module in nets.items() for name, p in module.named_parameters()
    }


def test_each_loss_reaches_its_own_weights_only() -> None:
    nets, step = models(), SieveStep("features.2", every=1, forget=1.0)
    main, read = step.losses(nets, batch())
    assert with_gradient(main, nets) == {f"model.{name}" for name in (*EARLY, *LATE)}
    assert with_gradient(read, nets) == {"reader.last.weight", "reader.last.bias"}
    forget = step.readability(nets, batch())
    early = [p for name, p in nets["model"].named_parameters() if name in EARLY]
    late = [p for name, p in nets["model"].named_parameters() if name in LATE]
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(forget, early, retain_graph=True))
    assert torch.autograd.grad(forget, late, allow_unused=True) == (None,) * 4
    assert all(p.requires_grad for p in nets["reader"].parameters())


def test_losses_are_the_formulas_and_follow_row_weights() -> None:
    nets, step = models(), SieveStep("features.2", every=1, forget=1.0)
    weight = torch.tensor([1.0, 0, 2, 1, 0, 1, 1, 3, 1], dtype=torch.float64)
    rows = batch(weight)
    assert isinstance(rows.x, Tensor)
    hidden = nets["model"].features[:3](rows.x)  # type: ignore[index]
    log_p = nets["reader"](hidden).log_softmax(1)
    main, read = step.losses(nets, rows)
    share = weight / weight.sum()
    own = F.cross_entropy(nets["model"](rows.x), rows.labels, reduction="none")
    torch.testing.assert_close(main, (share * own).sum())
    torch.testing.assert_close(read, -(share * log_p[torch.arange(9), rows.labels]).sum())
    torch.testing.assert_close(step.readability(nets, rows), -(share[:, None] * log_p).sum() / 3)


def test_forgetting_has_moments_of_its_own() -> None:
    nets, step = models(), SieveStep("features.2", every=2, forget=1.0)
    optimizers = step.setup(nets, view(), Trainer())
    for _ in range(4):
        step(nets, batch(), optimizers, 0.0)
    named = dict(nets["model"].named_parameters())
    assert {float(optimizers["model"].state[p]["step"]) for p in named.values()} == {4.0}
    assert {name for name, p in named.items() if optimizers["forget"].state[p]} == set(EARLY)
    assert {float(optimizers["forget"].state[named[name]]["step"]) for name in EARLY} == {2.0}


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1), Adam(weight_decay=0.1)])
def test_it_forgets_at_every_third_update_and_moves_the_early_layer_then(optimizer: SGD | Adam) -> None:
    """Against the same training without forgetting: late layers differ only after the update that follows."""
    runs = []
    for every in (3, 1000):
        nets, step = models(), SieveStep("features.2", every=every, forget=5.0, optimizer=optimizer)
        optimizers = step.setup(nets, view(), Trainer())
        states, told = [], []
        for _ in range(3):
            told.append("forget" in step(nets, batch(), optimizers, 0.0))
            states.append(weights(nets))
        runs.append((states, told))
    (with_it, told), (without, never) = runs
    assert told == [False, False, True]
    assert never == [False] * 3
    for name in with_it[0]:
        assert torch.equal(with_it[1][name], without[1][name])
    differing = {name for name in with_it[2] if not torch.equal(with_it[2][name], without[2][name])}
    assert differing == {f"model.{name}" for name in EARLY}


def test_forgetting_alone_leaves_the_reader_with_equal_probabilities() -> None:
    nets = models()
    step = SieveStep("features.2", every=1, forget=1.0)
    optimizer = torch.optim.Adam(nets["model"].parameters(), lr=0.05)
    reader = weights({"reader": nets["reader"]})
    start = step.readability(nets, batch()).item()
    for _ in range(300):
        optimizer.zero_grad()
        step.readability(nets, batch()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert step.readability(nets, batch()).item() < start
    assert step.readability(nets, batch()).item() == pytest.approx(math.log(3), abs=0.02)
    assert changed_by(reader, {"reader": nets["reader"]}) == set()


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"features\.9"):
        FeatureSieve(layer="features.9").fit(view(), Trainer(budget=Budget(1)))
