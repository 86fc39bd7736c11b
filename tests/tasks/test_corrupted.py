"""A task under corruptions: which rows, that they stay unmade, that they are the same each time, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image

from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.registry import create
from holdfast.core.task import Task
from holdfast.perturbations.corruptions import COMMON, CorruptedReader
from holdfast.tasks.colored_digits import ColoredDigits
from holdfast.tasks.corrupted import Corrupted
from holdfast.tasks.spirals_shortcuts import SpiralsShortcuts
from holdfast.testing import check_task


def test_a_split_for_each_corruption_of_the_rows_that_follow_the_training() -> None:
    clean, data = ColoredDigits().load(), Corrupted().load()
    assert [s.name for s in data.splits[: len(clean.splits)]] == [s.name for s in clean.splits]
    added = data.splits[len(clean.splits) :]
    assert [s.name for s in added] == [f"test-{name}" for name in COMMON]
    same = clean.split("test-same")
    for split in added:
        assert (split.role, split.shifted) == ("test", True)
        assert split.data.index.equal(same.data.index)
        assert split.data.labels.equal(same.data.labels)
        x = split.data.batch().x
        assert isinstance(x, torch.Tensor)
        assert x.shape == same.data.batch().x.shape  # type: ignore[union-attr]
        assert not x.equal(same.data.batch().x)  # type: ignore[arg-type]
    assert data.split("train").data.fingerprint() == clean.split("train").data.fingerprint()


def test_rows_do_not_depend_on_how_they_are_asked_for() -> None:
    rows = Corrupted(corruptions=("glass-blur",)).load().split("test-glass-blur").data
    assert isinstance(rows.x, LazyInputs)
    whole = rows.x[:]
    order = torch.tensor([5, 0, 5, 17])
    assert rows.x[order].equal(whole[order])
    assert rows.take(order).batch().x.equal(whole[order])  # type: ignore[union-attr]
    assert torch.cat([rows.x[slice(i, i + 1)] for i in range(5)]).equal(whole[:5])


def test_severity_scale_and_seed_change_the_data_and_equal_options_do_not() -> None:
    def print_of(**options: object) -> str:
        return Corrupted(corruptions=("fog",), **options).load().fingerprint()  # type: ignore[arg-type]

    prints = [print_of(), print_of(severity=4), print_of(scale="imagenet"), print_of(corruption_seed=1)]
    assert len(set(prints)) == 4
    assert print_of() == prints[0]


def test_images_on_disk_stay_there(tmp_path: Path) -> None:
    for i in range(60):
        path = tmp_path / "ab"[i % 2] / "xyz"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (4 * i, 100, 200 - 3 * i)).save(path)
    reference = (
        f"corrupted:task=ImageFolder:task.path={tmp_path}:task.environment=folder-2:task.holdout_environment=z"
        ':corruptions=["snow","jpeg-compression"]'
    )
    task = create(Task, reference)
    assert create(Task, task.reference) == task
    check_task(task)
    split = task.load().split("test-snow")
    assert isinstance(split.data.x, LazyInputs)
    assert isinstance(split.data.x.reader, CorruptedReader)
    assert isinstance(split.data.x.reader.images, LazyInputs)


def test_folds_are_those_of_the_other_task(tmp_path: Path) -> None:
    for i in range(60):
        path = tmp_path / "ab"[i % 2] / "xyz"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 8), 4 * i).save(path)
    task = create(Task, f"corrupted:task=ImageFolder:task.path={tmp_path}:task.environment=folder-2:severity=2")
    folds = task.folds()
    assert [fold.fold_name for fold in folds] == ["x", "y", "z"]
    assert all(isinstance(fold, Corrupted) and fold.severity == 2 for fold in folds)
    assert {fold.title for fold in folds} == {f"{tmp_path.name}, corrupted at severity 2"}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Corrupted(corruptions=("fogg",)), "unknown corruption 'fogg': did you mean 'fog'"),
        (Corrupted(corruptions=()), "name each once, one at least"),
        (Corrupted(corruptions=("fog", "fog")), "name each once"),
        (dataclasses.replace(Corrupted(), task=SpiralsShortcuts()), "corruptions take images"),  # type: ignore[arg-type]
    ],
    ids=["unknown", "none", "twice", "no images"],
)
def test_what_cannot_be(task: Corrupted, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        task.load()
    assert "\n" not in str(error.value)


def test_a_task_that_is_not_named_needs_its_options() -> None:
    with pytest.raises(UserError, match=r"needs the option 'task.path': write task.path=VALUE"):
        create(Task, "corrupted:task=ImageFolder")
