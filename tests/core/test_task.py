from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import HoldfastError, UserError
from holdfast.core.ledger import Ledger
from holdfast.core.task import (
    HiddenFromMethod,
    Model,
    Needs,
    Role,
    Split,
    Task,
    TaskData,
    TrainingView,
    check_needs,
    concatenate,
    training_view,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Model):
    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Linear(input_shape[0], outputs)


def rows(start: int, n: int = 4, **changes: Any) -> Dataset:
    data = Dataset(
        x=torch.arange(2.0 * n).reshape(n, 2) + start,
        y=torch.arange(n) % 2,
        environment=Column(torch.arange(n) % 2, ("e0", "e1")),
        attributes={"color": Column(torch.arange(n) % 3, ("r", "g", "b")), "sex": Column.constant(n)},
        weight=torch.ones(n),
        index=torch.arange(start, start + n),
    )
    return dataclasses.replace(data, **changes)


def task(*splits: Split, **changes: Any) -> TaskData:
    base = TaskData("classification", splits, Linear(), classes=("no", "yes"), groups=("color",))
    return dataclasses.replace(base, **changes)


def full_task() -> TaskData:
    roles: tuple[Role, ...] = ("train", "selection", "holdout", "calibration", "unlabelled", "pool", "test")
    return task(*(Split(role, role, rows(10 * i)) for i, role in enumerate(roles)))


def test_the_facts_of_a_task() -> None:
    data = full_task()
    assert (data.outputs, data.input_shape, data.phases) == (2, (2,), 1)
    assert [split.name for split in data.with_role("test")] == ["test"]
    assert data.split("pool").role == "pool"
    regression = task(Split("train", "train", rows(0)), kind="regression", classes=(), groups=())
    assert regression.outputs == 1
    assert regression.group_column(rows(0)) is None
    stream = task(Split("a", "train", rows(0)), Split("b", "train", rows(10), phase=2))
    assert stream.phases == 3


def test_groups_of_several_columns_are_their_product() -> None:
    groups = task(Split("train", "train", rows(0)), groups=("color", "sex")).group_column(rows(0))
    assert groups is not None
    assert groups.names == ("color=r, sex=all", "color=g, sex=all", "color=b, sex=all")
    one = task(Split("train", "train", rows(0))).group_column(rows(0))
    assert one is not None
    assert one.names == ("r", "g", "b")


def test_split_names_are_unique() -> None:
    with pytest.raises(ValueError, match="not unique"):
        task(Split("a", "train", rows(0)), Split("a", "test", rows(10)))


def test_a_row_has_one_role() -> None:
    with pytest.raises(ValueError, match=r"^row 3 is in role 'test' and in role 'train'$"):
        task(Split("a", "train", rows(0)), Split("b", "selection", rows(4)), Split("c", "test", rows(3, n=1)))


def test_a_unit_has_one_role_though_its_rows_differ() -> None:
    first, second = rows(0, unit=torch.tensor([1, 1, 2, 3])), rows(10, unit=torch.tensor([4, 5, 3, 6]))
    with pytest.raises(ValueError, match="unit 3 is in role"):
        task(Split("a", "train", first), Split("b", "test", second))


def test_rows_and_units_may_be_shared_within_a_role() -> None:
    units = torch.tensor([1, 1, 2, 2])
    shared = rows(0, unit=units)
    assert task(Split("train", "train", rows(50)), Split("a", "test", shared), Split("b", "test", shared)).phases == 1


def test_unknown_units_and_row_ids_equal_to_units_do_not_clash() -> None:
    unknown = torch.tensor([-1, -1, 1, 10])
    task(Split("a", "train", rows(0, unit=unknown)), Split("b", "test", rows(10, unit=torch.tensor([-1, 0, 2, 3]))))
    task(Split("a", "train", rows(0, unit=unknown)), Split("b", "test", rows(10)))


def test_every_part_of_a_task_is_in_its_fingerprint() -> None:
    one = task(Split("a", "train", rows(0)), Split("b", "test", rows(10)))
    others = [
        task(Split("x", "train", rows(0)), Split("b", "test", rows(10))),
        task(Split("a", "selection", rows(0)), Split("b", "test", rows(10))),
        task(Split("a", "train", rows(0)), Split("b", "test", rows(10), shifted=True)),
        task(Split("a", "train", rows(0)), Split("b", "test", rows(10), phase=1)),
        task(Split("a", "train", rows(0)), Split("b", "test", rows(11))),
        task(*reversed(one.splits)),
        dataclasses.replace(one, classes=("a", "b")),
        dataclasses.replace(one, groups=()),
    ]
    prints = {other.fingerprint() for other in others}
    assert len(prints) == len(others)
    assert one.fingerprint() not in prints
    assert dataclasses.replace(one, question="Why?").fingerprint() == one.fingerprint()


def test_a_view_holds_what_was_declared_and_nothing_else() -> None:
    view = training_view(
        full_task(), Needs(roles=("train", "holdout"), columns=("color",), environments=False), Ledger()
    )
    assert set(view.data) == {"train", "holdout"}
    assert set(view.train.attributes) == {"color"}
    assert view.train.environment.names == ("all",)
    assert view.role("holdout").index.tolist() == [20, 21, 22, 23]
    for role in ("selection", "pool", "test"):
        with pytest.raises(HiddenFromMethod, match=f"did not declare the role '{role}'"):
            view.role(role)
    with pytest.raises(UserError, match="unknown column 'sex'"):
        view.train.column("sex")


def test_environments_are_seen_where_declared() -> None:
    view = training_view(full_task(), Needs(), Ledger())
    assert view.train.environment.names == ("e0", "e1")
    assert view.train.attributes == {}
    assert view.grouped_by("label*environment").train.environment.names == (
        "label=0, environment=e0",
        "label=1, environment=e1",
    )


def test_a_method_cannot_reach_a_test_row() -> None:
    data = full_task()
    with pytest.raises(HiddenFromMethod, match="asks for test rows"):
        training_view(data, Needs(roles=("train", "test")), Ledger())
    everything: tuple[Role, ...] = ("train", "selection", "holdout", "calibration", "unlabelled", "pool")
    view = training_view(data, Needs(roles=everything), Ledger())
    test_ids = set(data.split("test").data.index.tolist())
    for rows_of_role in view.data.values():
        assert not test_ids & set(rows_of_role.index.tolist())
        assert isinstance(rows_of_role.x, torch.Tensor)
        assert rows_of_role.x.untyped_storage().nbytes() == rows_of_role.x.nbytes


def test_what_a_method_changes_does_not_reach_the_task() -> None:
    data = full_task()
    before = data.fingerprint()
    view = training_view(data, Needs(columns=("color",)), Ledger())
    assert isinstance(view.train.x, torch.Tensor)
    view.train.x.zero_()
    view.train.labels.zero_()
    view.train.environment.codes.zero_()
    view.train.attributes["color"].codes.zero_()
    view.train.index.zero_()
    assert data.fingerprint() == before


def test_labels_are_charged_by_role_and_hidden_in_pool_and_unlabelled() -> None:
    ledger = Ledger()
    view = training_view(full_task(), Needs(roles=("train", "unlabelled", "pool")), ledger)
    assert ledger.labels == {"train": 4}
    assert view.role("pool").y is None
    assert view.role("unlabelled").y is None
    assert view.train.y is not None


def test_the_oracle_charges_every_row_once() -> None:
    ledger = Ledger()
    view = training_view(full_task(), Needs(roles=("train", "pool")), ledger)
    oracle = view.oracle
    assert oracle is not None
    assert oracle.label(torch.tensor([51, 50])).tolist() == [1, 0]
    assert (ledger.labels["pool"], oracle.purchases) == (2, [51, 50])
    assert oracle.label(torch.tensor([51, 53, 53])).tolist() == [1, 1, 1]
    assert (ledger.labels, oracle.purchases) == ({"train": 4, "pool": 3}, [51, 50, 53])
    assert training_view(full_task(), Needs(), Ledger()).oracle is None


def test_the_oracle_sells_targets_of_a_regression_exactly() -> None:
    targets = torch.tensor([0.1, -2.5, 1e-7, 3.0])
    pool = rows(10, y=targets)
    data = task(Split("t", "train", rows(0, y=targets)), Split("p", "pool", pool), kind="regression", classes=())
    oracle = training_view(data, Needs(roles=("train", "pool")), Ledger()).oracle
    assert oracle is not None
    assert torch.equal(oracle.label(pool.index), targets)


def test_the_splits_of_a_role_are_joined_and_phases_kept_apart() -> None:
    splits = (Split("a", "train", rows(0)), Split("b", "train", rows(10)), Split("c", "train", rows(20), phase=1))
    assert training_view(task(*splits), Needs(), Ledger()).train.index.tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert training_view(task(*splits), Needs(), Ledger(), phase=1).train.index.tolist() == [20, 21, 22, 23]


def test_joined_rows_keep_every_part() -> None:
    joined = concatenate([rows(0, unit=torch.arange(4)), rows(10, unit=torch.arange(4, 8))])
    assert joined.units.tolist() == list(range(8))
    assert joined.attributes["color"].codes.tolist() == [0, 1, 2, 0] * 2
    assert joined.take(torch.arange(4)).fingerprint() == rows(0, unit=torch.arange(4)).fingerprint()
    assert concatenate([rows(0), rows(10, y=None)]).y is None
    parts = [dataclasses.replace(rows(start), x={"a": torch.full((4, 1), float(start))}) for start in (0, 10)]
    x = concatenate(parts).x
    assert isinstance(x, dict)
    assert x["a"].squeeze(1).tolist() == [0.0] * 4 + [10.0] * 4


def test_columns_of_other_names_are_not_joined() -> None:
    other = rows(10, environment=Column(torch.zeros(4, dtype=torch.int64), ("e1", "e0")))
    with pytest.raises(ValueError, match="other names"):
        concatenate([rows(0), other])


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (Needs(kinds=("regression",)), "method 'm' is for regression: this task is classification"),
        (
            Needs(roles=("train", "pool")),
            "method 'm' needs rows in role 'pool': this task has none; "
            "leave it out, or mark rows as pool in a column that --split names",
        ),
        (Needs(columns=("colour",)), "unknown column 'colour': did you mean 'color'?"),
    ],
)
def test_what_a_task_cannot_serve_is_said_before_training(needs: Needs, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_needs(task(Split("train", "train", rows(0))), needs, what="method 'm'")
    assert str(caught.value) == message


def test_the_label_is_a_column_that_needs_no_attribute() -> None:
    view = training_view(task(Split("train", "train", rows(0))), Needs(columns=("label", "color")), Ledger())
    assert isinstance(view, TrainingView)
    assert view.grouped_by("label*color").train.environment.codes.tolist() == [0, 3, 1, 2]


def test_hidden_is_an_error_of_the_method_and_not_of_the_user() -> None:
    assert issubclass(HiddenFromMethod, HoldfastError)
    assert not issubclass(HiddenFromMethod, UserError)


def test_a_task_is_its_own_fold() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Tiny(Task):
        pass

    assert Tiny().folds() == (Tiny(),)
    assert Tiny().fold_name == ""


def test_a_group_has_one_code_in_every_role():
    columns = ("a", "b")
    train = Dataset(torch.zeros(2, 1), torch.tensor([0, 1]), Column(torch.tensor([0, 1]), columns))
    holdout = Dataset(torch.zeros(1, 1), torch.tensor([1]), Column(torch.tensor([1]), columns), index=torch.tensor([7]))
    view = TrainingView("classification", ("0", "1"), 2, (1,), Linear(), {"train": train, "holdout": holdout})
    grouped = view.grouped_by("label*environment")
    assert grouped.train.environment.codes.tolist() == [0, 1]
    assert grouped.role("holdout").environment.codes.tolist() == [1]
    assert grouped.role("holdout").environment.names == grouped.train.environment.names


def test_as_many_groups_as_rows_are_refused() -> None:
    each = {"name": Column(torch.arange(4), ("a", "b", "c", "d")), "color": Column(torch.arange(4) // 2, ("r", "b"))}
    data = dataclasses.replace(rows(0), attributes=each)
    view = training_view(task(Split("train", "train", data)), Needs(columns=("name", "color")), Ledger())
    assert len(view.grouped_by("label*color").train.environment.names) == 4  # four rows, but not because of a column
    with pytest.raises(UserError, match="'name' has another value in each of 4 rows"):
        view.grouped_by("label*name")
