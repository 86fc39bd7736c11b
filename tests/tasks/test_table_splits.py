"""Parts of a table: roles disjoint by row and unit, whole environments held out, columns of role names, folds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.core.data import Column
from holdfast.core.errors import UserError
from holdfast.tasks.table_splits import Parts, balanced_folds, parts_by_column, parts_by_environment


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_disjoint(chosen: Parts, unit: torch.Tensor) -> None:
    role_of: dict[int, str] = {}
    rows = [row for part in chosen.parts for row in part.rows.tolist()]
    assert len(set(rows)) == len(rows)
    for part in chosen.parts:
        assert len(part.rows)
        for code in unit[part.rows].tolist():
            assert role_of.setdefault(code, part.name) == part.name


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=200),
    held=st.sets(st.integers(0, 3), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_units_stay_whole_and_no_row_is_lost(rows: list[tuple[int, int]], held: set[int], seed: int) -> None:
    environment, unit = torch.tensor(rows).unbind(dim=1)
    held_out = torch.tensor([e in held for e, _ in rows])
    tested = {u for e, u in rows if e in held}
    assume(any(u not in tested for _, u in rows))
    chosen = parts_by_environment(held_out, environment, unit, rng(seed))
    check_disjoint(chosen, unit)
    assert chosen.parts[0].name == "train"
    expected = {row for row, (e, u) in enumerate(rows) if e in held or u not in tested}
    assert {row for part in chosen.parts for row in part.rows.tolist()} == expected
    for part in chosen.parts:
        assert part.shifted == (part.name == "test")
        assert set(held_out[part.rows].tolist()) == {part.shifted}
    lost = len(rows) - len(expected)
    assert any("left out" in note for note in chosen.notes) == (lost > 0)


def test_shares_hold_in_every_stratum() -> None:
    strata = torch.arange(4000) % 4
    chosen = parts_by_environment(strata == 3, strata, None, rng())
    assert [part.name for part in chosen.parts] == ["train", "selection", "holdout", "test-same", "test"]
    for part, share in zip(chosen.parts, (0.6, 0.15, 0.1, 0.15), strict=False):
        counts = torch.bincount(strata[part.rows], minlength=4)[:3]
        assert (counts - 1000 * share).abs().max() <= 4
    assert chosen.parts[-1].rows.equal((strata == 3).nonzero()[:, 0])


def test_nothing_held_out_gives_no_shifted_test() -> None:
    chosen = parts_by_environment(torch.zeros(100, dtype=torch.bool), torch.zeros(100, dtype=torch.int64), None, rng())
    assert [part.name for part in chosen.parts] == ["train", "selection", "holdout", "test-same"]


def test_too_few_units_are_reported() -> None:
    held_out = torch.tensor([True] * 10 + [False] * 10)
    unit = torch.tensor([0] * 10 + [1] * 10)
    chosen = parts_by_environment(held_out, torch.zeros(20, dtype=torch.int64), unit, rng(1))
    assert [part.name for part in chosen.parts] == ["train", "test"]
    assert chosen.notes == ("too few rows or units for selection, holdout, test-same: there is none",)


def test_nothing_left_to_train_on() -> None:
    everything = torch.ones(5, dtype=torch.bool)
    strata = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(UserError, match="hold out fewer"):
        parts_by_environment(everything, strata, None, rng())
    with pytest.raises(UserError, match="units in held-out environments"):
        parts_by_environment(everything, strata, strata, rng())


def split_column(*names: str) -> Column:
    distinct = tuple(dict.fromkeys(names))
    return Column(torch.tensor([distinct.index(name) for name in names]), distinct)


def test_synonyms_name_the_same_role() -> None:
    names = ["Train", "training", "val", "Validation", "dev", "hold_out", "calibration", "TEST", "pool", "unlabeled"]
    environment = torch.tensor([0] * 7 + [1] + [0] * 2)
    parts = parts_by_column(split_column(*names), environment, None).parts
    assert {part.name: (part.role, part.rows.tolist(), part.shifted) for part in parts} == {
        "train": ("train", [0, 1], False),
        "selection": ("selection", [2, 3, 4], False),
        "holdout": ("holdout", [5], False),
        "calibration": ("calibration", [6], False),
        "unlabelled": ("unlabelled", [9], False),
        "pool": ("pool", [8], False),
        "test": ("test", [7], True),
    }


def test_test_rows_of_familiar_environments_are_not_shifted() -> None:
    split = split_column("train", "train", "test", "test", "test")
    mixed = parts_by_column(split, torch.tensor([0, 1, 0, 2, 1]), None)
    assert [(part.name, part.rows.tolist(), part.shifted) for part in mixed.parts[1:]] == [
        ("test-same", [2, 4], False),
        ("test", [3], True),
    ]
    familiar = parts_by_column(split, torch.tensor([0, 1, 0, 1, 1]), None)
    assert [(part.name, part.shifted) for part in familiar.parts] == [("train", False), ("test", False)]
    assert "not shifted" in familiar.notes[0]


@pytest.mark.parametrize(
    ("names", "units", "message"),
    [
        (["train", "tset"], None, "did you mean 'test'"),
        (["train", "val"], None, "no row has the split 'test'"),
        (["test", "val"], None, "no row has the split 'train'"),
        (["train", "train", "test"], ["ann", "bob", "bob"], "unit 'bob' has rows in the splits train and test"),
    ],
)
def test_refusals(names: list[str], units: list[str] | None, message: str) -> None:
    unit = None if units is None else split_column(*units)
    with pytest.raises(UserError, match=message):
        parts_by_column(split_column(*names), torch.arange(len(names)), unit)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.integers(1, 8))
def test_folds_hold_every_environment_once_and_are_balanced(sizes: list[int], folds: int) -> None:
    folds = min(folds, len(sizes))
    groups = balanced_folds(torch.tensor(sizes), folds)
    assert sorted(environment for group in groups for environment in group) == list(range(len(sizes)))
    totals = [sum(sizes[environment] for environment in group) for group in groups]
    assert min(totals) > 0
    assert max(totals) - min(totals) <= max(sizes)
