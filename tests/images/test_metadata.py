"""What a table says of images: joined by their paths, whatever the order, with every mistake in one line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from holdfast.core.errors import UserError
from holdfast.images.metadata import FILE_COLUMNS, Metadata, described, find_metadata

NAMES = ["cat/1.png", "cat/2.png", "dog/north/3.png"]


def write(folder: Path, **columns: list[object]) -> tuple[Metadata, ...]:
    path = folder / "metadata.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return (Metadata(path),)


@pytest.mark.parametrize("column", FILE_COLUMNS)
def test_rows_are_joined_by_path(tmp_path: Path, column: str) -> None:
    path = write(tmp_path, hospital=["c", "a", "b"], **{column: ["dog/north/3.png", "./cat/1.png", "cat\\2.png"]})
    frame, missing, notes = described(NAMES, path)
    assert frame["hospital"].tolist() == ["a", "b", "c"]
    assert frame.index.tolist() == [0, 1, 2]
    assert frame["folder-1"].tolist() == ["cat", "cat", "dog"]
    assert frame["folder-2"].isna().tolist() == [True, True, False]
    assert column not in frame
    assert (missing, notes) == ([], ())


def test_parquet_is_read_as_well(tmp_path: Path) -> None:
    pd.DataFrame({"file_name": NAMES, "site": [1, 2, 3]}).to_parquet(tmp_path / "metadata.parquet")
    assert described(NAMES, find_metadata(tmp_path))[0]["site"].tolist() == [1, 2, 3]
    assert find_metadata(tmp_path / "nowhere") == ()


def test_metadata_of_folders_below_name_files_of_their_own(tmp_path: Path) -> None:
    for folder, files in (("cat", ["2.png", "1.png"]), ("dog", ["north/3.png"])):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, file_name=files, site=[f"{folder} {file}" for file in files])
    frame, missing, _ = described(NAMES, find_metadata(tmp_path))
    assert frame["site"].tolist() == ["cat 1.png", "cat 2.png", "dog north/3.png"]
    assert missing == []
    write(tmp_path, file_name=NAMES, site=["a", "b", "c"])
    assert described(NAMES, find_metadata(tmp_path))[0]["site"].tolist() == ["a", "b", "c"]


def test_missing_and_undescribed_images_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, file_name=["cat/2.png", "cat/9.png"], hospital=["a", "b"])
    frame, missing, notes = described(NAMES, path)
    assert frame.index.tolist() == [1]
    assert missing == ["cat/9.png"]
    assert notes == ("left out, not in metadata.csv: 2 images (cat/1.png, dog/north/3.png)",)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["cat/1.png", "cat/1.png"], "names 'cat/1.png' more than once"),
        (["cat/1.png", "./cat/1.png"], "names 'cat/1.png' more than once"),
        (["../secret.png", "cat/1.png"], "leads out of the folder"),
        (["cat/../../x.png", "cat/1.png"], "leads out of the folder"),
        (["..\\x.png", "cat/1.png"], "leads out of the folder"),
        (["/etc/x.png", "cat/1.png"], "leads out of the folder"),
        (["1.png", "2.png"], "names '1.png' and no image that is there: write paths such as 'cat/1.png'"),
        (["cat/1.png", None], "file_name is missing in 1 row"),
    ],
)
def test_mistakes(tmp_path: Path, names: list[object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        described(NAMES, write(tmp_path, file_name=names, hospital=["a", "b"]))


def test_a_table_without_file_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column of file names: call it file_name"):
        described(NAMES, write(tmp_path, hospital=["a", "b"], sex=["f", "m"]))


def test_a_metadata_column_is_kept_where_a_folder_has_its_name(tmp_path: Path) -> None:
    frame = described(NAMES, write(tmp_path, **{"file_name": NAMES, "folder-1": ["x", "y", "z"]}))[0]
    assert frame["folder-1"].tolist() == ["x", "y", "z"]
    assert frame.columns.is_unique
