from __future__ import annotations

import dataclasses
import functools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.ledger import Ledger
from holdfast.core.predictors import forward
from holdfast.core.task import Split, TaskData, TrainingView, training_view
from holdfast.heads.balanced import BalancedRefit
from holdfast.methods.dfr import DFR
from holdfast.methods.erm import ERM
from holdfast.models.mlp import MLP
from holdfast.models.rescaled import Rescaled
from holdfast.testing import toy_task
from holdfast.training import Budget, Trainer


@functools.cache
def biased(holdout: int = 160, agreement: float = 0.5) -> TaskData:
    """Two classes, an attribute that agrees in 95 % of training rows and so often in so many rows of the holdout."""

    def rows(n: int, agreement: float, seed: int) -> Dataset:
        rng = torch.Generator().manual_seed(seed)
        y = torch.arange(n) % 2
        attribute = torch.where(torch.rand(n, generator=rng) < agreement, y, 1 - y)
        if agreement == 0.5:
            attribute = torch.arange(n) // 2 % 2
        core = (2 * y - 1)[:, None] + 0.7 * torch.randn(n, 4, generator=rng)
        shortcut = 3 * (2 * attribute - 1)[:, None] + 0.3 * torch.randn(n, 4, generator=rng)
        column = {"attribute": Column(attribute, ("minus", "plus"))}
        return Dataset(
            torch.cat([core, shortcut], 1), y, Column.constant(n), column, index=torch.arange(n) + 10_000 * seed
        )

    parts = (("train", rows(1000, 0.95, 0)), ("holdout", rows(holdout, agreement, 1)), ("test", rows(2000, 0.5, 2)))
    splits = tuple(Split(role, role, data) for role, data in parts)
    return TaskData(kind="classification", splits=splits, model=MLP(hidden=(16,)), classes=("no", "yes"))


def view(task: TaskData, method: DFR | ERM) -> TrainingView:
    return training_view(task, method.needs(), Ledger())


def erm(task: TaskData, steps: int = 60) -> nn.Module:
    return ERM().fit(view(task, ERM()), Trainer(budget=Budget(steps)))


def repaired(task: TaskData, method: DFR, *, seed: int = 0) -> nn.Module:
    return method.fit(view(task, method), Trainer(seed=seed), erm(task))


def worst_and_mean(model: nn.Module, rows: Dataset) -> tuple[float, float]:
    right = (forward(model, rows).argmax(1) == rows.labels).double()
    groups = rows.grouped_by("label*attribute").environment.codes
    return min(float(right[groups == g].mean()) for g in range(4)), float(right.mean())


def test_the_worst_group_gains_at_least_15_points() -> None:
    """The card's figures: 40 rows per group, the mean accuracy falls by at most 8."""
    rows = biased().split("test").data
    before, after = (
        worst_and_mean(m, rows) for m in (erm(biased()), repaired(biased(), DFR(groups="label*attribute")))
    )
    assert before[0] < 0.6
    assert after[0] - before[0] > 0.15
    assert after[1] - before[1] > -0.08


def test_groups_are_balanced_where_the_holdout_is_not() -> None:
    task = biased(400, 0.95)
    rows = task.split("test").data
    balanced, pooled = (worst_and_mean(repaired(task, DFR(groups=g)), rows)[0] for g in ("label*attribute", "label"))
    assert balanced > pooled + 0.1


def test_only_the_last_layer_changes() -> None:
    before, after = erm(biased()).state_dict(), repaired(biased(), DFR()).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}


def test_the_network_with_the_head_does_what_the_fits_do() -> None:
    """One group, so that every fit is to the same rows: scaled features, one penalty, one L1 logistic regression."""
    from sklearn.linear_model import LogisticRegression

    task = biased()
    model = repaired(task, DFR(strengths=(0.1,), refits=3))
    rows = task.split("holdout").data
    features = forward(nn.Sequential(model.features), rows).double().numpy()
    used = features.std(0) > 0
    scaled = (features - features.mean(0)) / np.where(used, features.std(0), 1)
    oracle = LogisticRegression(C=0.1, l1_ratio=1.0, solver="liblinear", max_iter=1000, random_state=0)
    expected = oracle.fit(scaled, rows.labels.numpy()).decision_function(scaled)
    logits = forward(model, rows).double()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-2)


GROUP_SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=6)


@given(GROUP_SIZES, st.integers(1, 12), st.integers(0, 100))
def test_every_group_weighs_the_same(sizes: list[int], least: int, seed: int) -> None:
    """Without repetition, and never more than the smallest group or the least number of rows."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    rows, weight = BalancedRefit((1.0,), 1, least).balanced(groups, np.arange(len(groups)), np.random.default_rng(seed))
    size = max(least, min(sizes))
    assert len(set(rows.tolist())) == len(rows)
    assert Counter(groups[rows].tolist()) == {g: min(n, size) for g, n in enumerate(sizes)}
    for g in range(len(sizes)):
        assert weight[groups[rows] == g].sum() == pytest.approx(size)
    if min(sizes) >= least:
        assert (weight == 1).all()


def test_subsamples_are_fresh() -> None:
    groups, rng = np.repeat([0, 1], [10, 50]), np.random.default_rng(0)
    first, second = (
        set(BalancedRefit((1.0,), 1, 10).balanced(groups, np.arange(60), rng)[0].tolist()) for _ in range(2)
    )
    assert first != second


def test_the_penalty_is_chosen_by_the_worst_group() -> None:
    """Too strong a penalty leaves nothing but the intercept: it is not chosen, whatever else is offered."""
    task = biased()
    strong = repaired(task, DFR(groups="label*attribute", strengths=(1e-6,)))
    free = repaired(task, DFR(groups="label*attribute", strengths=(1e-6, 1.0)))
    rows = task.split("test").data
    assert worst_and_mean(strong, rows)[0] < 0.2
    assert worst_and_mean(free, rows)[0] > 0.6


@pytest.mark.parametrize("model", [MLP(hidden=(8,)), Rescaled(model=MLP(hidden=(8,)), shift=50.0, scale=10.0)])
def test_numbers_are_refitted_in_the_units_of_the_output(model: MLP | Rescaled) -> None:
    task = toy_task("regression", model=model)
    network = repaired(task, DFR(strengths=(1e6,), min_group_rows=100))
    rows = task.split("holdout").data
    features = forward(network.features, rows).double().numpy()
    x = np.hstack([features, np.ones((len(rows), 1))])
    solution = np.linalg.lstsq(x, rows.labels.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(forward(network, rows)[:, 0], x @ solution, atol=2e-2)


def holdout(task: TaskData, **changes: object) -> TaskData:
    splits = [
        dataclasses.replace(s, data=dataclasses.replace(s.data, **changes)) if s.role == "holdout" else s
        for s in task.splits
    ]
    return dataclasses.replace(task, splits=tuple(splits))


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(torch.arange(48), id="a group for every row"),
        pytest.param((torch.arange(48) > 0).long(), id="a group of one row"),
        pytest.param((torch.arange(48) > 45).long() * 40, id="gaps between codes"),
        pytest.param((torch.arange(48) % 4) - 1, id="unknown"),
    ],
)
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_any_groups_will_do(codes: torch.Tensor, kind: str) -> None:
    task = holdout(toy_task(kind), environment=Column(codes, tuple(map(str, range(60)))))
    assert torch.isfinite(forward(repaired(task, DFR(refits=3)), task.split("test").data)).all()


@pytest.mark.parametrize("present", [(0,), (0, 2)])
def test_classes_may_be_absent(present: tuple[int, ...]) -> None:
    y = torch.tensor(present)[torch.arange(48) % len(present)]
    task = holdout(toy_task(), y=y)
    outputs = forward(repaired(task, DFR(refits=3)), task.split("test").data)
    assert set(outputs.argmax(1).tolist()) <= set(present)


def test_rows_of_unknown_group_do_not_count() -> None:
    task = toy_task()
    rows = task.split("holdout").data
    unknown = torch.arange(48) % 3 == 0
    environment = Column(torch.where(unknown, -1, rows.environment.codes), rows.environment.names)
    first, second = (
        repaired(
            holdout(task, environment=environment, y=torch.where(unknown, rows.labels.roll(k), rows.labels)), DFR()
        )
        for k in (0, 1)
    )
    assert torch.equal(first.head.weight, second.head.weight)


def test_heads_without_an_intercept() -> None:
    from holdfast.models.linear import Linear

    task = toy_task("regression", model=Linear(bias=False))
    network = repaired(task, DFR(strengths=(1e6,), min_group_rows=100))
    rows = task.split("holdout").data
    solution = np.linalg.lstsq(rows.x.double().numpy(), rows.labels.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(network.head.weight[0].detach(), solution, atol=1e-3)


class Reshaped(nn.Module):
    """A network whose last linear layer is followed by something else."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.head, self.after = nn.Linear(6, 3), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.head(x))


@pytest.mark.parametrize("after", [nn.Softmax(dim=1), nn.Sigmoid(), nn.LayerNorm(3), nn.Tanh()])
def test_a_network_that_does_not_end_in_its_last_layer_is_refused(after: nn.Module) -> None:
    with pytest.raises(UserError, match="does not give its outputs"):
        DFR().fit(view(toy_task(), DFR()), Trainer(), Reshaped(after))


def test_what_cannot_be_repaired_is_refused() -> None:
    with pytest.raises(UserError, match=r"write erm\+dfr"):
        DFR().fit(view(biased(), DFR()), Trainer())
    lost = holdout(biased(), environment=Column(torch.full((160,), -1), ("all",)))
    with pytest.raises(UserError, match="two holdout rows of known group"):
        repaired(lost, DFR())
    with pytest.raises(UserError, match="no linear layer"):
        DFR().fit(view(toy_task(), DFR()), Trainer(), nn.Sequential(nn.Flatten()))


def test_few_rows_of_each_group_are_enough_and_no_other_is_looked_at() -> None:
    task = biased()
    trainer = Trainer()
    few = DFR(groups="label*attribute", rows_per_group=8)
    few.fit(view(task, few), trainer, erm(task))
    assert trainer.ledger.forwards == 4 * 8
    more = DFR(groups="label*attribute", rows_per_group=1000)
    rows = task.split("test").data
    outputs = [forward(repaired(task, m), rows) for m in (more, DFR(groups="label*attribute"))]
    assert torch.equal(*outputs)
    before, after = (worst_and_mean(network, rows)[0] for network in (erm(task), repaired(task, few)))
    assert after > before + 0.15
