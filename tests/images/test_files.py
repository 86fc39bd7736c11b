"""Finding image files: names, order, links, and what is no image."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.errors import UserError
from holdfast.images.files import find_images, holds_images, some


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * len(name))


def names(folder: Path) -> list[str]:
    return [file.name for file in find_images(folder).files]


def test_images_of_all_depths_come_in_order_of_their_paths(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/2.PNG", "b/1.jpeg", "a/deep/er/x.webp", "root.tif", ".hidden.png", ".git/a.png", "__MACOSX/b.png"
    )
    assert names(tmp_path) == ["a/deep/er/x.webp", "b/1.jpeg", "b/2.PNG", "root.tif"]
    first = find_images(tmp_path).files[0]
    status = (tmp_path / first.name).stat()
    assert (first.size, first.changed) == (len(first.name), status.st_mtime_ns)


def test_other_files_are_told_of_and_metadata_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "metadata.csv", "a/metadata.csv", *[f"notes-{i:02d}.txt" for i in range(12)])
    (note,) = find_images(tmp_path).notes
    assert note.startswith("ignored, as no image: 13 files (a/metadata.csv, notes-00.txt, ")
    assert note.endswith(" and 3 more)")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "data/a/1.png", "elsewhere/2.png")
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/self").symlink_to(tmp_path / "data/self")
    (tmp_path / "data/nothing").symlink_to(tmp_path / "gone")
    found = find_images(tmp_path / "data")
    assert [file.name for file in found.files] == ["a/1.png", "b/2.png"]
    assert found.notes == ("ignored, as a link to a folder above it or to nothing: a/up, nothing, self",)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        find_images(tmp_path / "gone")


def test_what_kind_of_folder_is_meant(tmp_path: Path) -> None:
    touch(tmp_path, "images/a/b/1.png", "images/metadata.csv", "tables/x.csv", "tables/a/1.png", "neither/notes.txt")
    assert holds_images(tmp_path / "images")
    assert not holds_images(tmp_path / "tables")
    assert not holds_images(tmp_path / "neither")


def test_many_names_are_cut_short() -> None:
    assert some([str(i) for i in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert some([f"{i:04d}" for i in range(2011)]).endswith("0009 and 2,001 more")
