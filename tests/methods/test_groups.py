"""Group DRO and balancing on data of which the shortcut fails for a known minority."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from scipy import stats

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.registry import create
from holdfast.core.task import Needs, Split, TaskData, training_view
from holdfast.losses import MeanOfEnvironments, cross_entropy
from holdfast.methods._groups import balanced_rows, needs_of
from holdfast.models.linear import Linear
from holdfast.training import Budget, GradientStep, Trainer

OPTIMIZER = "optimizer=SGD:optimizer.lr=0.1:optimizer.weight_decay=0.01"
MINORITY = "groups=label*attribute"


@functools.cache
def task() -> TaskData:
    """y = ±1 with attribute = y in 97 %; x = (y + N(0, 1), attribute + 0.3 N(0, 1), 50 numbers of noise)."""

    def rows(n: int, agreement: float, seed: int) -> Dataset:
        rng = torch.Generator().manual_seed(seed)
        y = torch.randint(2, (n,), generator=rng)
        attribute = torch.where(torch.rand(n, generator=rng) < agreement, y, 1 - y)
        core = (2 * y - 1) + torch.randn(n, generator=rng)
        shortcut = (2 * attribute - 1) + 0.3 * torch.randn(n, generator=rng)
        x = torch.cat([core[:, None], shortcut[:, None], torch.randn(n, 50, generator=rng)], dim=1)
        column = Column(attribute, ("minus", "plus"))
        return Dataset(x, y, Column.constant(n), {"attribute": column}, index=torch.arange(n) + 10_000 * seed)

    splits = (Split("train", "train", rows(2000, 0.97, 0)), Split("test", "test", rows(4000, 0.5, 1)))
    return TaskData(
        kind="classification", splits=splits, model=Linear(), classes=("minus", "plus"), groups=("attribute",)
    )


@functools.cache
def worst_group(reference: str) -> float:
    method, trainer = create(Method, reference), Trainer(budget=Budget(600))
    model = method.fit(training_view(task(), method.needs(), Ledger()), trainer)
    rows = task().split("test").data
    right = (model(rows.x).argmax(1) == rows.labels).double()
    groups = rows.grouped_by("label*attribute").environment.codes
    return min(float(right[groups == g].mean()) for g in range(4))


@pytest.mark.parametrize("method", ["group-dro", "balanced"])
def test_the_worst_group_gains_at_least_35_points_over_erm(method: str) -> None:
    assert worst_group(f"{method}:{MINORITY}:{OPTIMIZER}") - worst_group(f"erm:{OPTIMIZER}") > 0.35


def test_group_dro_lowers_the_largest_loss_that_balance_leaves() -> None:
    """The labels of one group are noise there: minimising the worst loss costs the other group its certainty."""
    train = training_view(task(), Needs(columns=("attribute",)), Ledger()).train
    noise = torch.randint(2, (len(train),), generator=torch.Generator().manual_seed(9))
    hard = train.attributes["attribute"].codes == 1
    train = dataclasses.replace(train, y=torch.where(hard, noise, train.labels))
    losses = {}
    for reference in (
        f"group-dro:groups=attribute:step_size=0.1:{OPTIMIZER}",
        f"balanced:groups=attribute:{OPTIMIZER}",
    ):
        view = training_view(task(), Needs(columns=("attribute",)), Ledger())
        noisy = dataclasses.replace(view, data={"train": train})
        model = create(Method, reference).fit(noisy, Trainer(budget=Budget(400)))
        rows = cross_entropy(model(train.x), train.labels).detach()
        losses[reference.split(":")[0]] = float(rows[~hard].mean()), float(rows[hard].mean())
    assert losses["group-dro"][1] < losses["balanced"][1] - 0.01
    assert losses["group-dro"][0] > losses["balanced"][0] + 0.1


def test_group_dro_without_growth_is_the_mean_of_groups_on_balanced_batches() -> None:
    method, (trainer, other) = (
        create(Method, f"group-dro:{MINORITY}:step_size=0"),
        (Trainer(budget=Budget(20)) for _ in "ab"),
    )
    view = training_view(task(), method.needs(), Ledger())
    model = method.fit(view, trainer)
    grouped, step = view.grouped_by("label*attribute"), GradientStep(risk=MeanOfEnvironments())
    plain = other.fit(other.build(method, view), grouped, step, source=balanced_rows(grouped, other)).model
    torch.testing.assert_close(model.head.weight, plain.head.weight)


def test_balanced_batches_hold_groups_equally_often() -> None:
    method = create(Method, f"balanced:{MINORITY}")
    grouped = training_view(task(), method.needs(), Ledger()).grouped_by("label*attribute")
    source = balanced_rows(grouped, Trainer())
    counts = torch.stack([source.next_batch().environment.bincount(minlength=4) for _ in range(100)]).sum(0)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("method", ["group-dro", "balanced", "dfr"])
@pytest.mark.parametrize(
    ("groups", "columns", "environments"),
    [
        ("environment", (), True),
        ("label*color", ("color",), False),
        ("label * a*environment *b", ("a", "b"), True),
        ("label", (), False),
    ],
)
def test_only_the_columns_of_the_groups_are_asked_for(
    method: str, groups: str, columns: tuple[str, ...], environments: bool
) -> None:
    needs = create(Method, method, groups=groups).needs()
    assert (needs.columns, needs.environments) == (columns, environments)
    assert needs.base == (method == "dfr")


def test_needs_carry_what_else_is_said() -> None:
    assert needs_of("a", roles=("holdout",), base=True) == Needs(("holdout",), ("a",), environments=False, base=True)


@pytest.mark.parametrize("method", ["group-dro", "balanced"])
def test_an_unknown_column_is_named(method: str) -> None:
    with pytest.raises(UserError, match="did you mean 'attribute'"):
        training_view(task(), create(Method, method, groups="label*atribute").needs(), Ledger())


@pytest.mark.parametrize("method", ["group-dro", "balanced"])
def test_rows_of_unknown_group_are_left_out(method: str) -> None:
    trained = []
    for shift in (0, 1):
        view = training_view(task(), Needs(columns=("attribute",)), Ledger())
        unknown = torch.arange(len(view.train)) % 3 == 0
        column = view.train.attributes["attribute"]
        known = dataclasses.replace(column, codes=torch.where(unknown, -1, column.codes))
        y = torch.where(unknown, (view.train.labels + shift) % 2, view.train.labels)
        train = dataclasses.replace(view.train, y=y, attributes={"attribute": known})
        hidden = dataclasses.replace(view, data={"train": train})
        trained.append(create(Method, f"{method}:groups=attribute").fit(hidden, Trainer(budget=Budget(10))))
    assert torch.equal(trained[0].head.weight, trained[1].head.weight)
