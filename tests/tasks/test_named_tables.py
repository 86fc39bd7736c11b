"""Named tables: what is held out, what is left out, and what is missing without the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData

NAMES = ("adult", "bike-sharing", "communities")


def present(task: TaskData, split: str) -> set[str]:
    column = task.split(split).data.environment
    return {column.names[code] for code in column.present()}


@pytest.mark.parametrize("name", NAMES)
def test_without_a_folder_one_line_says_what_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    with pytest.raises(UserError, match="is needed: name a local folder") as caught:
        create(Task, name).load()
    assert "\n" not in str(caught.value)


def test_adult(data_root: Path) -> None:
    task = create(Task, "adult").load()
    assert sum(len(split.data) for split in task.splits) == 48_842 - 2_799
    assert task.classes == ("<=50K", ">50K")
    assert task.groups == ("sex", "race")
    assert present(task, "test") == {"Self-emp-inc", "Self-emp-not-inc"}
    assert present(task, "train").isdisjoint(present(task, "test"))
    assert task.raw is not None
    assert {"sex", "race", "fnlwgt", "workclass", "income", "split"}.isdisjoint(task.raw.features)
    assert {"age", "education", "capital_gain"} <= set(task.raw.features)


def test_adult_with_groups_as_features(data_root: Path) -> None:
    task = create(Task, "adult", group_features=True).load()
    assert task.raw is not None
    assert {"sex", "race"} <= set(task.raw.features)


def test_bike_sharing(data_root: Path) -> None:
    task = create(Task, "bike-sharing").load()
    assert task.kind == "regression"
    assert sum(len(split.data) for split in task.splits) == 17_379
    assert present(task, "test") == {"1"}
    assert present(task, "train") == {"2", "3", "4"}
    assert task.raw is not None
    assert {"casual", "registered", "mnth", "season", "dteday", "instant"}.isdisjoint(task.raw.features)
    days = {split.name: set(split.data.units.tolist()) for split in task.splits}
    assert len(days["train"]) + len(days["selection"]) + len(days["test"]) < 731
    assert days["train"].isdisjoint(days["selection"])


def test_communities(data_root: Path) -> None:
    task = create(Task, "communities").load()
    assert task.kind == "regression"
    assert sum(len(split.data) for split in task.splits) == 1994
    assert present(task, "test") == {"6", "34"}
    assert len(task.split("test").data) == 278 + 211
    assert task.raw is not None
    assert {"communityname", "fold", "state", "county"}.isdisjoint(task.raw.features)
    labels = task.split("train").data.labels
    assert 0 <= labels.min() < labels.max() <= 1


def test_another_season_may_be_held_out(data_root: Path) -> None:
    assert present(create(Task, "bike-sharing", holdout_environment="3|4").load(), "test") == {"3", "4"}
    with pytest.raises(UserError, match="environment to hold out"):
        create(Task, "bike-sharing", holdout_environment="5").load()
