"""A folder of images as a task: labels, roles and folds as for a table, pixels from disk, every mistake in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.task import Role, TaskData
from holdfast.models.rescaled import Rescaled
from holdfast.tasks import image_folder
from holdfast.tasks.image_folder import ImageFolder
from holdfast.tasks.table import TableFile
from holdfast.testing.tasks import check_task

HOSPITALS = ("north", "east", "south", "west")
Make = Callable[..., ImageFolder]


def metadata() -> pd.DataFrame:
    rows = range(120)
    return pd.DataFrame(
        {
            "file_name": [f"{'ab'[i % 2]}/{i:03d}.png" for i in rows],
            "hospital": [HOSPITALS[i // 2 % 4] for i in rows],
            "sex": ["fm"[i // 8 % 2] for i in rows],
            "patient": [i // 16 * 4 + i // 2 % 4 for i in rows],
            "w": [1.0 + i % 3 for i in rows],
            "dose": [i / 7 for i in rows],
            "part": [["train", "val", "test"][i % 3] for i in rows],
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """120 images of 5×6 pixels whose brightness is their number, and what there is to say of them."""
    frame, root = metadata(), tmp_path / "scans"
    for i, name in enumerate(frame["file_name"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 6), 10 + i).save(root / name)
    frame.sample(frac=1, random_state=0).to_csv(root / "metadata.csv", index=False)
    return root


@pytest.fixture
def make(folder: Path) -> Make:
    return lambda **options: ImageFolder(**{"path": str(folder), "environment": "hospital", **options})


def numbers(task: TaskData, split: str) -> list[int]:
    """Which image each row is, from its pixels."""
    x = task.split(split).data.batch().x
    assert isinstance(x, torch.Tensor)
    assert (x == x[:, :1, :1, :1]).all()
    return ((x[:, 0, 0, 0] * 255).round().long() - 10).tolist()


def test_every_row_has_its_own_pixels_label_and_columns(make: Make) -> None:
    frame = metadata()
    task = make(group=("sex",), unit="patient", weight="w", holdout_environment="west").load()
    assert task.input_shape == (1, 6, 5)
    assert task.classes == ("a", "b")
    seen: list[int] = []
    for split in task.splits:
        data, which = split.data, numbers(task, split.name)
        assert isinstance(data.x, LazyInputs)
        seen += which
        said = frame.iloc[which]
        assert [task.classes[code] for code in data.labels.tolist()] == [name[0] for name in said["file_name"]]
        assert [data.environment.names[code] for code in data.environment.codes.tolist()] == said["hospital"].tolist()
        sex = data.attributes["sex"]
        assert [sex.names[code] for code in sex.codes.tolist()] == said["sex"].tolist()
        assert data.weight is not None
        assert data.weight.tolist() == said["w"].tolist()
        names = sorted(frame["file_name"])
        assert [names[row] for row in data.index.tolist()] == said["file_name"].tolist()
    assert sorted(seen) == list(range(120))
    assert set(frame["hospital"].iloc[numbers(task, "test")]) == {"west"}


def test_folds_splits_and_notes_are_those_of_the_same_table(make: Make, tmp_path: Path) -> None:
    """One arrangement for both: only the names of their random streams differ."""
    frame = metadata()
    frame["label"] = [name[0] for name in frame["file_name"]]
    frame.sort_values("file_name").to_csv(tmp_path / "t.csv", index=False)
    roles: dict[str, Any] = {"group": ("sex",), "unit": "patient", "weight": "w"}
    images = make(**roles).folds()
    tables = TableFile(path=str(tmp_path / "t.csv"), label="label", environment="hospital", **roles).folds()
    assert [fold.fold_name for fold in images] == [fold.fold_name for fold in tables] == sorted(HOSPITALS)
    for image, table in zip(images, tables, strict=True):
        mine, theirs = image.load(), table.load()
        parts, same = ([(s.name, s.role, s.shifted) for s in task.splits] for task in (mine, theirs))
        assert parts == same
        assert mine.split("test").data.index.tolist() == theirs.split("test").data.index.tolist()
        assert set(mine.notes) <= set(theirs.notes)


def test_a_split_column_is_followed(make: Make) -> None:
    task = make(split="part").load()
    for name, rest in {"train": 0, "selection": 1, "test": 2}.items():
        assert {number % 3 for number in numbers(task, name)} == {rest}
    roles: set[Role] = {split.role for split in task.splits}
    assert roles == {"train", "selection", "test"}


def test_it_keeps_the_contract_of_tasks(make: Make) -> None:
    check_task(make(holdout_environment="west", group=("sex",)))


def test_numbers_make_a_regression_in_their_units(make: Make) -> None:
    task = make(label="dose", holdout_environment="west").load()
    assert task.kind == "regression"
    assert isinstance(task.model, Rescaled)
    assert task.target_scale == pytest.approx(float(task.split("train").data.labels.double().std(correction=0)))


def test_folders_are_columns(folder: Path) -> None:
    (folder / "metadata.csv").unlink()
    for path in sorted(folder.rglob("*.png")):
        site = path.parent / f"site-{int(path.stem) // 2 % 3}"
        site.mkdir(exist_ok=True)
        path.rename(site / path.name)
    task = ImageFolder(path=str(folder), environment="folder-2", holdout_environment="site-1").load()
    assert {number // 2 % 3 for number in numbers(task, "test")} == {1}
    assert task.classes == ("a", "b")
    swapped = ImageFolder(path=str(folder), environment="folder-1", label="folder-2")
    assert swapped.load().classes == ("site-0", "site-1", "site-2")
    assert [fold.fold_name for fold in swapped.folds()] == ["a", "b"]


def test_folders_that_look_like_splits_are_not_taken_for_labels(folder: Path) -> None:
    (folder / "metadata.csv").unlink()
    for path in sorted(folder.rglob("*.png")):
        place = folder / ["train", "test"][int(path.stem) % 5 == 0] / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    with pytest.raises(UserError, match="look like splits: add --split folder-1 --label folder-2"):
        ImageFolder(path=str(folder), environment="folder-2").load()


def test_a_label_column_comes_before_the_folder(folder: Path, make: Make) -> None:
    frame = metadata()
    frame["label"] = ["xyz"[i % 3] for i in range(120)]
    frame.to_csv(folder / "metadata.csv", index=False)
    assert make(holdout_environment="west").load().classes == ("x", "y", "z")


@pytest.mark.parametrize(
    ("change", "size", "shape", "note"),
    [
        ((), None, (1, 6, 5), ""),
        ((), 8, (1, 8, 8), "images are 5×6: cut around the centre and resized to 8×8"),
        (("L", (7, 7)), None, (1, 64, 64), "images are of several sizes"),
        (("RGB", (5, 6)), None, (3, 6, 5), ""),
    ],
)
def test_size_and_color_follow_the_images(
    folder: Path, make: Make, change: tuple[Any, ...], size: int | None, shape: tuple[int, ...], note: str
) -> None:
    if change:
        Image.new(*change).save(folder / "a/000.png")
    task = make(holdout_environment="west", size=size).load()
    assert task.input_shape == shape
    assert any(note in told for told in task.notes) if note else not any("resized" in told for told in task.notes)


def test_the_hash_follows_the_files_and_what_is_said_of_them(folder: Path, make: Make) -> None:
    def print_of(**options: Any) -> str:
        return make(holdout_environment="west", **options).load().fingerprint()

    first = print_of()
    assert print_of() == first
    prints = [first, print_of(size=8)]
    os.utime(folder / "a/000.png", ns=(0, 1))
    prints.append(print_of())
    frame = metadata()
    frame.loc[0, "hospital"] = "south"
    frame.to_csv(folder / "metadata.csv", index=False)
    prints.append(print_of())
    (folder / "a/000.png").rename(folder / "a/0000.png")
    frame.loc[0, "file_name"] = "a/0000.png"
    frame.to_csv(folder / "metadata.csv", index=False)
    prints.append(print_of())
    assert len(set(prints)) == len(prints)


def damage(folder: Path) -> None:
    (folder / "a/000.png").write_bytes(b"")
    (folder / "b/001.png").write_bytes((folder / "b/001.png").read_bytes()[:-6])
    (folder / "a/002.png").unlink()
    (folder / "b/003.png").write_text("no image")


def test_all_unreadable_images_are_listed_before_anything_is_trained(folder: Path, make: Make) -> None:
    damage(folder)
    faults = "a/000.png: empty, a/002.png: missing, b/001.png: truncated, b/003.png: no image"
    with pytest.raises(UserError, match=rf"4 of 120 images cannot be read \({faults}\)"):
        make(holdout_environment="west").load()
    with pytest.raises(UserError, match="leave them out with --skip-unreadable"):
        make().folds()
    task = make(holdout_environment="west", skip_unreadable=True).load()
    seen = {number for split in task.splits for number in numbers(task, split.name)}
    assert seen == set(range(4, 120))
    assert f"left out, as they cannot be read: 4 images ({faults})" in task.notes


def test_no_readable_image_is_an_error_all_the_same(folder: Path, make: Make) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no image of .*scans can be read .* and 110 more"):
        make(skip_unreadable=True).load()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"environment": "hopsital"}, r"unknown environment column 'hopsital': did you mean 'hospital'\?"),
        ({"holdout_environment": "wset"}, "did you mean 'west'"),
        ({"split": "part", "holdout_environment": "west"}, "give one of them"),
        ({"label": "sex", "weight": "sex"}, "is both"),
        ({"min_environment_rows": 1000}, "every environment has fewer than 1,000 rows"),
        ({"metadata": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_mistakes(make: Make, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        make(**options).load()


def test_one_class_only(folder: Path, make: Make) -> None:
    frame = metadata()
    frame[frame["file_name"].str.startswith("a")].to_csv(folder / "metadata.csv", index=False)
    with pytest.raises(UserError, match="label 'label' has one value only"):
        make().load()


def test_a_folder_without_images_or_labels(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images"):
        ImageFolder(path=str(tmp_path), environment="x").load()
    for i in range(20):
        Image.new("L", (2, 2)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="have no label: sort them into folders or name --label COLUMN"):
        ImageFolder(path=str(tmp_path), environment="x").load()


def test_a_large_folder_is_read_as_it_is_needed_and_gives_the_same_rows(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = make(holdout_environment="west").load()
    monkeypatch.setattr(image_folder, "SMALL_BYTES", 120 * 6 * 5 * 4 - 1)
    large = make(holdout_environment="west").load()
    assert small.fingerprint() == large.fingerprint()
    pairs = [(a.data.batch().x, b.data.batch().x) for a, b in zip(small.splits, large.splits, strict=True)]
    assert all(torch.equal(a, b) for a, b in pairs)  # type: ignore[arg-type]
    for path in folder.rglob("*.png"):
        path.unlink()
    assert len(small.splits[0].data.batch()) > 0
    with pytest.raises(UserError, match="is gone"):
        large.splits[0].data.batch()


def test_pictures_show_the_environments(make: Make) -> None:
    table, grid = make(holdout_environment="west").load().pictures
    assert [row[:3] for row in table.rows] == [  # type: ignore[union-attr]
        ("east", 30, "train"),
        ("north", 30, "train"),
        ("south", 30, "train"),
        ("west", 30, "test"),
    ]
    assert len(grid.images) == len(grid.captions) == 20  # type: ignore[union-attr]
    assert np.asarray(grid.images).shape == (20, 6, 5, 3)  # type: ignore[union-attr]
    assert grid.captions[-1] == "west: b"  # type: ignore[union-attr]
