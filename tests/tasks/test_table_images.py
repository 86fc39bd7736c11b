"""Tables whose rows are pictures: from encoded bytes to inputs, beside columns with roles, and what can go wrong."""

from __future__ import annotations

import io
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
from holdfast.core.task import TaskData
from holdfast.images import StoredReader
from holdfast.models.cnn import CNN
from holdfast.models.rescaled import Rescaled
from holdfast.tasks import table_inputs
from holdfast.tasks.table import TableFile
from holdfast.testing.tasks import check_task

Make = Callable[..., TableFile]
ROWS = 120


def encoded(pixels: np.ndarray, kind: str = "PNG") -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": None}


def pixels_of(row: int, channels: int) -> np.ndarray:
    shape = (6, 9) if channels == 1 else (6, 9, channels)
    return np.random.default_rng(row).integers(0, 256, shape).astype(np.uint8)


def photos(channels: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "photo": [encoded(pixels_of(row, channels)) for row in range(ROWS)],
            "animal": ["cow" if row % 3 else "camel" for row in range(ROWS)],
            "place": ["pasture", "beach", "desert", "stable"][:4] * (ROWS // 4),
            "camera": [row // 2 for row in range(ROWS)],
            "weight": np.linspace(200.0, 900.0, ROWS),
        }
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a table and make a task of it."""

    def write(frame: pd.DataFrame | None = None, **options: Any) -> TableFile:
        path = tmp_path / "photos.parquet"
        (photos() if frame is None else frame).to_parquet(path)
        return TableFile(**{"path": str(path), "label": "animal", "environment": "place", **options})

    return write


def inputs(task: TaskData, split: str) -> torch.Tensor:
    x = task.split(split).data.batch().x
    assert isinstance(x, torch.Tensor)
    return x


@pytest.mark.parametrize("channels", [1, 3])
def test_inputs_are_the_pixels_of_each_row(channels: int, make: Make) -> None:
    task = make(photos(channels), holdout_environment="desert").load()
    assert task.input_shape == (channels, 6, 9)
    for split in task.splits:
        for x, row in zip(inputs(task, split.name), split.data.index.tolist(), strict=True):
            expected = torch.from_numpy(pixels_of(row, channels)).reshape(6, 9, channels).permute(2, 0, 1) / 255
            assert x.equal(expected)
    assert task.model == CNN()
    assert task.encoder is None
    assert task.raw is None
    assert task.classes == ("camel", "cow")


def test_roles_hold_for_pictures_as_for_columns(make: Make) -> None:
    table = make(group=("camera",), weight="weight", drop=())
    assert [fold.fold_name for fold in table.folds()] == ["beach", "desert", "pasture", "stable"]
    task = table.folds()[0].load()
    assert {task.split("test").data.environment.names[0]} == {"beach"}
    assert "inputs are the pictures of 'photo', 9 × 6 pixels" in task.notes
    assert not any(note.startswith("not used") for note in task.notes)
    units = make(unit="camera", holdout_environment="beach|pasture").load()
    assert any("not used, as the input is a picture: 'weight'" in note for note in units.notes)


def test_the_contract_holds(make: Make) -> None:
    check_task(make(holdout_environment="stable"))
    check_task(make(label="weight", holdout_environment="stable"))


def test_numbers_are_predicted_in_their_units(make: Make) -> None:
    task = make(label="weight", holdout_environment="stable").load()
    assert task.kind == "regression"
    assert isinstance(task.model, Rescaled)
    assert task.model.model == CNN()


def test_grey_among_colors_is_color(make: Make) -> None:
    frame = photos()
    frame.at[5, "photo"] = encoded(pixels_of(5, 1))
    task = make(frame, holdout_environment="stable").load()
    split = next(split for split in task.splits if 5 in split.data.index.tolist())
    x = inputs(task, split.name)[split.data.index.tolist().index(5)]
    assert x.equal((torch.from_numpy(pixels_of(5, 1)) / 255).expand(3, 6, 9))


def change(row: int, value: Any) -> pd.DataFrame:
    frame = photos()
    frame.at[row, "photo"] = value
    return frame


WHOLE = encoded(pixels_of(0, 3))["bytes"]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "empty"),
        ({"bytes": None, "path": "elsewhere.png"}, "empty"),
        ({"bytes": b"text", "path": None}, "no image"),
        ({"bytes": WHOLE[:60], "path": None}, "truncated"),
    ],
)
def test_a_broken_picture_names_its_row(value: Any, fault: str, make: Make) -> None:
    text = rf"photos\.parquet: 1 of 120 images in column 'photo' cannot be read \(row 8: {fault}\)"
    with pytest.raises(UserError, match=text) as caught:
        make(change(7, value), holdout_environment="stable").load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("small", [True, False])
def test_pixels_that_are_damaged_are_named(small: bool, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where they are decoded once, otherwise when they are needed."""
    monkeypatch.setattr(table_inputs, "SMALL_BYTES", 1 << 25 if small else 0)
    damaged = bytearray(WHOLE)
    damaged[60:80] = bytes(20)
    table = make(change(7, {"bytes": bytes(damaged), "path": None}), holdout_environment="stable")
    split = None if small else next(s for s in table.load().splits if 7 in s.data.index.tolist())
    with pytest.raises(UserError, match=r"photos\.parquet, column 'photo', row 8 cannot be decoded") as caught:
        split.data.batch() if split else table.load()
    assert "\n" not in str(caught.value)


def test_pictures_decoded_once_or_when_needed_are_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    once = make(holdout_environment="stable").load()
    monkeypatch.setattr(table_inputs, "SMALL_BYTES", 0)
    needed = make(holdout_environment="stable").load()
    assert once.fingerprint() == needed.fingerprint()
    for split in once.splits:
        assert inputs(once, split.name).equal(inputs(needed, split.name))


def test_pictures_of_several_sizes_become_one_size(make: Make) -> None:
    frame = change(7, encoded(pixels_of(0, 3)[:4]))
    task = make(frame, holdout_environment="stable").load()
    assert task.input_shape == (3, 64, 64)
    assert "images are of several sizes: cut around the centre and resized to 64×64" in task.notes
    assert make(frame, holdout_environment="stable", size=12).load().input_shape == (3, 12, 12)
    assert make(holdout_environment="stable", size=12).load().input_shape == (3, 12, 12)
    with pytest.raises(UserError, match=r"--size: .* has no column of images"):
        make(photos().drop(columns="photo"), holdout_environment="stable", size=12).load()


def test_rows_are_numbered_as_in_the_file(make: Make) -> None:
    frame = change(7, {"bytes": b"text", "path": None})
    frame["place"] = frame["place"].where(frame.index != 2)
    with pytest.raises(UserError, match=r"\(row 8: no image\)"):
        make(frame, holdout_environment="stable").load()


def test_two_columns_of_pictures_need_a_choice(make: Make) -> None:
    frame = photos().assign(thumbnail=photos()["photo"])
    with pytest.raises(
        UserError, match="images in the columns 'photo' and 'thumbnail': leave all but one out with --drop"
    ):
        make(frame, holdout_environment="stable").load()
    assert make(frame, holdout_environment="stable", drop=("photo",)).load().input_shape == (3, 6, 9)


def test_a_picture_that_is_dropped_leaves_the_columns(make: Make) -> None:
    task = make(holdout_environment="stable", drop=("photo",)).load()
    assert task.encoder is not None
    assert task.encoder.feature_names == ("camera", "weight")


def test_examples_of_every_environment_are_shown(make: Make) -> None:
    grid = make(holdout_environment="stable").load().pictures[1].to_html()
    assert grid.count("<img") == 5 * 4
    assert "pasture: camel" in grid


def test_the_hash_is_that_of_the_bytes(make: Make) -> None:
    one = make(holdout_environment="stable").load().fingerprint()
    assert make(holdout_environment="stable").load().fingerprint() == one
    other = encoded(255 - pixels_of(7, 3))
    assert make(change(7, other), holdout_environment="stable").load().fingerprint() != one


def test_a_split_holds_the_images_of_no_other(make: Make) -> None:
    task = make(holdout_environment="stable").load()
    x = task.split("train").data.x
    assert isinstance(x, LazyInputs)
    held = x.reader
    assert isinstance(held, StoredReader)
    assert len(held.reader.images) == len(held.pixels) == len(task.split("train").data)  # type: ignore[attr-defined]
