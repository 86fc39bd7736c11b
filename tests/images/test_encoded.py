"""Encoded images in a column: rows as asked for, sizes, and faults that are found before anything is trained."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from holdfast.core.errors import UserError
from holdfast.images import encoded_images, is_image_column


def pixels(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def record(array: np.ndarray) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def column(rows: int = 6) -> pd.Series:
    return pd.Series([record(pixels(row)) for row in range(rows)], name="photo")


def test_rows_are_decoded_as_asked() -> None:
    reader, notes = encoded_images(column(), "t.parquet")
    assert notes == ()
    assert reader.row_shape == (3, 5, 7)
    rows = torch.tensor([4, 0, 4])
    expected = torch.stack([torch.from_numpy(pixels(row)).permute(2, 0, 1) / 255 for row in rows.tolist()])
    assert reader.read(rows).equal(expected)
    assert reader.take(torch.tensor([5, 4])).read(torch.tensor([1])).equal(expected[:1])
    assert len(reader.take(torch.tensor([5, 4])).images) == 2
    assert reader.read(rows[:0]).shape == (0, 3, 5, 7)


def test_decoded_once_they_are_the_same_bits() -> None:
    reader, _ = encoded_images(column(), "t.parquet")
    once = reader.in_memory()
    rows = torch.tensor([5, 1, 1])
    assert once.pixels is not None
    assert once.read(rows).equal(reader.read(rows))
    assert once.take(rows).read(torch.tensor([2])).equal(reader.read(rows)[2:])
    assert list(once.keys()) == list(reader.keys())
    resized, _ = encoded_images(column(), "t.parquet", size=11)
    assert resized.in_memory().read(rows).equal(resized.read(rows))


def test_sixteen_bits_are_not_cut_to_eight() -> None:
    deep = pd.Series([record(np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000)], name="photo")
    reader, _ = encoded_images(deep, "t.parquet")
    assert reader.in_memory() is reader


def test_keys_are_of_the_content() -> None:
    reader, _ = encoded_images(column(), "t.parquet")
    again, _ = encoded_images(column(7), "t.parquet")
    assert list(again.keys())[:6] == list(reader.keys())
    assert len(set(again.keys())) == 7


def test_grey_images_have_one_channel_and_sizes_are_brought_to_one() -> None:
    grey = pd.Series([record(pixels(row)[:, :, 0]) for row in range(3)], name="photo")
    assert encoded_images(grey, "t")[0].row_shape == (1, 5, 7)
    mixed = pd.concat([grey, pd.Series([record(pixels(9)[:4])])], ignore_index=True)
    reader, notes = encoded_images(mixed, "t", size=8)
    assert reader.row_shape == (3, 8, 8)
    assert reader.read(torch.arange(4)).shape == (4, 3, 8, 8)
    assert notes == ("images are of several sizes: cut around the centre and resized to 8×8",)


def test_many_faults_are_counted_and_the_first_named() -> None:
    broken = pd.Series([record(pixels(0)), *[{"bytes": b"text", "path": None}] * 14], name="photo")
    text = r"^t: 14 of 15 images in column 'photo' cannot be read \(row 2: no image, .* row 11: no image and 4 more\)"
    with pytest.raises(UserError, match=text):
        encoded_images(broken, "t")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([{"bytes": b"", "path": None}], True),
        ([None, {"path": "a", "bytes": None}], True),
        ([{"bytes": b""}], False),
        ([b"text"], False),
        (["text"], False),
        ([1.0], False),
        ([None], False),
        ([], False),
    ],
)
def test_what_is_a_column_of_images(values: list[object], expected: bool) -> None:
    assert is_image_column(pd.Series(values, dtype=object)) is expected
