"""Rows from image files: the right ones in the right order, whether by one thread or several."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.core.errors import UserError
from holdfast.images import ImageReader, find_images
from holdfast.images import reader as module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for value in range(12):
        Image.new("RGB", (5, 4), (value, 2 * value, 0)).save(tmp_path / f"{value:02d}.png")
    return tmp_path


def reader(folder: Path) -> ImageReader:
    return ImageReader(str(folder), find_images(folder).files, (3, 4, 5))


@pytest.mark.parametrize("large", [1 << 15, 0], ids=["one thread", "threads"])
def test_rows_come_as_they_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(module, "_LARGE", large)
    rows = torch.tensor([7, 0, 7, 11, 3])
    read = reader(folder).read(rows)
    assert read.shape == (5, 3, 4, 5)
    np.testing.assert_array_equal((read[:, 0, 0, 0] * 255).round().long(), rows)
    assert torch.equal(reader(folder).take(torch.tensor([3, 11, 7])).read(torch.tensor([2, 0])), read[[0, 4]])
    assert reader(folder).read(rows[:0]).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("large", [1 << 15, 0], ids=["one thread", "threads"])
def test_one_bad_file_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(module, "_LARGE", large)
    images = reader(folder)
    (folder / "03.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"03\.png cannot be decoded"):
        images.read(torch.arange(12))


def test_taken_rows_know_no_others(folder: Path) -> None:
    some = reader(folder).take(torch.tensor([4]))
    assert [file.name for file in some.files] == ["04.png"]
    assert len(some) == len(list(some.keys())) == 1


def test_a_key_changes_with_name_size_and_time(folder: Path) -> None:
    (before,) = reader(folder).take(torch.tensor([4])).keys()
    assert list(reader(folder).take(torch.tensor([4])).keys()) == [before]
    path = folder / "04.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    (touched,) = reader(folder).take(torch.tensor([4])).keys()
    path.write_bytes(path.read_bytes() + b"0")
    (longer,) = reader(folder).take(torch.tensor([4])).keys()
    assert len({before, touched, longer}) == 3


def test_images_that_were_read_once_are_the_same_rows(folder: Path) -> None:
    held, rows = reader(folder).in_memory(), torch.tensor([5, 1, 5])
    expected, keys = reader(folder).read(rows), list(reader(folder).take(rows).keys())
    for path in folder.iterdir():
        path.unlink()
    assert torch.equal(held.read(rows), expected)
    some = held.take(rows)
    assert torch.equal(some.read(torch.arange(3)), expected)
    assert list(some.keys()) == keys
    assert some.pixels is not None
    assert len(some.pixels) == 3
