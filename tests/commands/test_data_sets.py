"""Named data sets on the command line: where they are looked for, and what a user reads when they are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Call = Callable[..., Any]
ROLES = ("--label", "died", "--environment", "ward")


@pytest.fixture
def root(tmp_path: Path, patients: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data sets with one, in two splits; HOLDFAST_DATA names none."""
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    folder = tmp_path / "data sets" / "patients"
    folder.mkdir(parents=True)
    patients[:40].to_parquet(folder / "train-00000-of-00001.parquet")
    patients[40:].to_parquet(folder / "test-00000-of-00001.parquet")
    return folder.parent


def assert_refused(called: Any, *texts: str) -> None:
    assert called.code == 2
    assert called.out == ""
    assert called.err.count("\n") == 1, called.err
    for text in texts:
        assert text in called.err


def test_a_data_set_is_named_like_a_task(run: Call, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_option = run("--data-dir", root, *ROLES, "--split", "split", "--json", task="patients")
    assert by_option.code == 0, by_option.err
    monkeypatch.setenv("HOLDFAST_DATA", str(root))
    by_variable = run(*ROLES, "--split", "split", "--json", task="patients")
    by_path = run(*ROLES, "--split", "split", "--json", task=str(root / "patients"))
    assert by_option.json["scores"] == by_variable.json["scores"] == by_path.json["scores"]


def test_a_path_comes_before_a_data_set(call: Call, root: Path, patients: pd.DataFrame) -> None:
    Path("patients").mkdir()
    patients.rename(columns={"ward": "station"}).to_parquet("patients/one.parquet")
    assert_refused(call("run", "patients", "--data-dir", root, *ROLES), "unknown environment column 'ward'")


def test_the_columns_are_shown_where_roles_lack(call: Call, root: Path) -> None:
    assert_refused(call("run", "patients", "--data-dir", root), "needs --label COLUMN", "age, dose, ward, sex, died")


def test_a_wrong_label_names_the_near_one(call: Call, root: Path) -> None:
    called = call("run", "patients", "--data-dir", root, "--label", "dyed", "--environment", "ward")
    assert_refused(called, "did you mean 'died'")


@pytest.mark.parametrize("options", [(), ("--data-dir", "nowhere")])
def test_absent_data_say_where_they_are_looked_for(call: Call, root: Path, options: tuple[str, ...]) -> None:
    assert_refused(call("run", "patients", *options, *ROLES), "--data-dir or HOLDFAST_DATA")
    layout = "mnist/train-00000-of-00001.parquet, as on the Hugging Face hub"
    assert_refused(call("run", "colored-mnist", *options), layout)


def test_a_task_that_makes_its_data_takes_no_folder(call: Call, root: Path) -> None:
    assert_refused(call("run", "colored-digits", "--data-dir", root), "--data-dir", "makes its own data")
    assert_refused(call("run", "colored-digit", "--data-dir", root), "did you mean 'colored-digits'")


def test_a_truncated_shard(call: Call, root: Path) -> None:
    shard = root / "patients" / "test-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    assert_refused(call("run", "patients", "--data-dir", root, *ROLES), "test-00000-of-00001.parquet", "truncated")


def test_the_hub_needs_its_library_or_a_right_name(call: Call, root: Path) -> None:
    assert_refused(call("run", "hub:patients", *ROLES), "write hub:OWNER/NAME")


def test_a_task_of_the_same_name_comes_first_where_no_column_is_named(
    call: Call, tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(data_root))
    few = ("--method", "erm", "--seeds", 1, "--steps", 2, "--evaluate", "performance", "--json")
    as_task = call("run", "adult", *few)
    assert as_task.code == 0, as_task.err
    as_table = call("run", "adult", "--label", "income", "--environment", "race", "--split", "split", *few)
    assert as_table.code == 0, as_table.err
    assert as_task.json["scores"] != as_table.json["scores"]
