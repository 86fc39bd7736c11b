"""The hash of a cell: whatever decides its numbers changes it, and nothing else does."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from holdfast.commands.request import chains_of
from holdfast.core.data import Column, Dataset
from holdfast.core.method import Method
from holdfast.core.options import options_of
from holdfast.core.registry import create, plugins
from holdfast.core.task import Split, Task, TaskData
from holdfast.experiments.numerics import Numerics
from holdfast.experiments.spec import CellSpec, hash_of
from holdfast.methods.erm import ERM
from holdfast.models.mlp import MLP
from holdfast.tasks.table import TableFile
from holdfast.training import SGD, Adam, AdamW, Budget, SelectionRule

SPEC = CellSpec(
    task=TableFile(path="patients.csv", label="died", environment="ward"),
    data="f1",
    fold="north",
    chain=(ERM(),),
    model=MLP(),
    seed=0,
    budget=Budget(10),
    batch_size=8,
    numerics=Numerics(),
    rule=create(SelectionRule, "validation"),
)
CHAIN = dataclasses.replace(SPEC, chain=chains_of("erm+dfr")[0])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def changed(**fields: Any) -> str:
    return dataclasses.replace(SPEC, **fields).key


@pytest.mark.parametrize(
    "fields",
    [
        {"data": "f2"},
        {"seed": 1},
        {"budget": Budget(11)},
        {"budget": Budget(10, "examples")},
        {"batch_size": 9},
        {"model": MLP(hidden=(64,))},
        {"model": MLP(dropout=0.1)},
        {"numerics": Numerics(threads=2)},
        {"numerics": Numerics(device="cuda")},
        {"numerics": Numerics(precision="64-true")},
        {"chain": (ERM(optimizer=Adam(lr=2e-3)),)},
        {"chain": (ERM(optimizer=AdamW(weight_decay=0.0)),)},
        {"chain": (ERM(), ERM())},
        {"task": create(Task, "linreg-patchwork")},
    ],
    ids=str,
)
def test_what_decides_the_numbers_changes_the_key(fields: dict[str, Any]) -> None:
    assert changed(**fields) != SPEC.key


def test_optimizers_of_equal_options_and_other_class_differ() -> None:
    """Adam and AdamW without decay have the same options and the same values."""
    adam, adamw = (ERM(optimizer=cls(lr=0.1, weight_decay=0.0)) for cls in (Adam, AdamW))
    assert changed(chain=(adam,)) != changed(chain=(adamw,))


@pytest.mark.parametrize("name", plugins("method"))
def test_every_option_of_every_method_changes_the_key(name: str) -> None:
    method = create(Method, name)
    variants = [method, *(dataclasses.replace(method, **{key: other}) for key, other in other_values(method))]
    keys = {changed(chain=(variant,)) for variant in variants}
    assert len(keys) == len(variants) == 1 + len(options_of(type(method)))


def other_values(method: Method) -> list[tuple[str, Any]]:
    """Another value of every option."""
    return [(name, other_value(getattr(method, name))) for name in options_of(type(method))]


def other_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, tuple):
        return (*value, 1.0)
    return SGD() if dataclasses.is_dataclass(value) else f"{value}-other"


@pytest.mark.parametrize("part", ["task", "model"])
def test_the_version_of_a_plug_in_changes_the_key(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    before = SPEC.key
    monkeypatch.setattr(type(getattr(SPEC, part)), "version", 2)
    assert SPEC.key != before


def test_the_version_of_any_method_of_a_chain_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [CHAIN.key]
    for method in CHAIN.chain:
        monkeypatch.setattr(type(method), "version", 2)
        keys.append(CHAIN.key)
    assert len(set(keys)) == 3


def test_where_a_file_lies_and_how_a_fold_is_called_do_not_change_the_key() -> None:
    elsewhere = dataclasses.replace(SPEC.task, path="/elsewhere/copy.parquet", holdout_environment="north")
    assert changed(task=elsewhere, fold="n") == SPEC.key


def test_the_rule_is_hashed_for_chains_only() -> None:
    last = create(SelectionRule, "last")
    assert changed(rule=last) == SPEC.key
    assert dataclasses.replace(CHAIN, rule=last).key != CHAIN.key


def test_the_prefix_of_a_chain_is_the_cell_of_the_method_alone() -> None:
    assert SPEC.prefix is None
    assert CHAIN.prefix is not None
    assert CHAIN.prefix.key == SPEC.key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("erm:optimizer.lr=0.1", "erm:optimizer.lr=1e-1"),
        ("v-rex:penalty=1", "v-rex:penalty=1.0"),
        ("erm", "erm:optimizer=Adam"),
        ("group-dro", "group-dro:groups=environment"),
        ("erm:optimizer.lr=0.1:optimizer.weight_decay=0.2", "erm:optimizer.weight-decay=.2:optimizer.lr=.1"),
    ],
)
def test_two_ways_to_write_the_same_setting_are_one_cell(one: str, other: str) -> None:
    assert changed(chain=chains_of(one)[0]) == changed(chain=chains_of(other)[0])


@given(st.dictionaries(st.text(), JSON, min_size=2, max_size=4))
def test_the_order_of_keys_does_not_matter(content: dict[str, Any]) -> None:
    assert hash_of(dict(reversed(content.items()))) == hash_of(content)


@given(JSON, JSON)
def test_other_content_has_another_hash(one: Any, other: Any) -> None:
    assert (hash_of(one) == hash_of(other)) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


def test_the_hash_of_known_content_stays_what_it_is() -> None:
    """Another hash would orphan every cell that users have."""
    assert hash_of({"seed": 0, "budget": {"amount": 10}}) == "7fff78ac092ad82c"


def test_any_change_of_the_data_changes_the_fingerprint() -> None:
    codes = torch.tensor([0, 1, 0, 1])
    column = Column(codes, ("a", "b"))
    rows = Dataset(
        x=torch.arange(8.0).reshape(4, 2),
        y=codes,
        environment=column,
        attributes={"color": column},
        unit=torch.arange(4),
        weight=torch.ones(4),
        index=torch.arange(4),
    )
    other, renamed = Column(1 - codes, ("a", "b")), Column(codes, ("a", "c"))
    variants = [
        rows,
        dataclasses.replace(rows, x=rows.x.flip(0)),
        dataclasses.replace(rows, x=torch.nextafter(rows.x, torch.tensor(9.0))),
        dataclasses.replace(rows, x=rows.x.reshape(4, 1, 2)),
        dataclasses.replace(rows, x=rows.x.double()),
        dataclasses.replace(rows, x={"a": rows.x}),
        dataclasses.replace(rows, y=1 - codes),
        dataclasses.replace(rows, y=None),
        dataclasses.replace(rows, environment=other),
        dataclasses.replace(rows, environment=renamed),
        dataclasses.replace(rows, attributes={}),
        dataclasses.replace(rows, attributes={"color": other}),
        dataclasses.replace(rows, attributes={"color": renamed}),
        dataclasses.replace(rows, attributes={"hue": column}),
        dataclasses.replace(rows, unit=None),
        dataclasses.replace(rows, unit=torch.arange(1, 5)),
        dataclasses.replace(rows, weight=None),
        dataclasses.replace(rows, weight=2 * torch.ones(4)),
        dataclasses.replace(rows, index=torch.arange(1, 5)),
    ]
    splits = [Split("train", "train", variant) for variant in variants]
    splits += [
        Split("learn", "train", rows),
        Split("train", "selection", rows),
        Split("train", "train", rows, shifted=True),
        Split("train", "train", rows, phase=1),
    ]
    tasks = [TaskData("classification", (split,), MLP(), classes=("a", "b")) for split in splits]
    tasks.append(dataclasses.replace(tasks[0], classes=("a", "c")))
    tasks.append(dataclasses.replace(tasks[0], groups=("color",)))
    fingerprints = [task.fingerprint() for task in tasks]
    twins = [(i, j) for (i, one), (j, two) in itertools.combinations(enumerate(fingerprints), 2) if one == two]
    assert not twins
    assert tasks[0].fingerprint() == TaskData("classification", (splits[0],), MLP(), classes=("a", "b")).fingerprint()


def test_a_case_names_method_seed_and_fold() -> None:
    spec = dataclasses.replace(SPEC, chain=chains_of("erm+dfr")[0], seed=3, fold="")
    assert spec.case == "erm+dfr with seed 3"
    assert dataclasses.replace(spec, fold="north").case == "erm+dfr with seed 3 and north held out"
