"""What a table says of image files: one row for each, named by their paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from holdfast.core.errors import UserError
from holdfast.core.words import count
from holdfast.images.files import METADATA, some
from holdfast.tables import read_with_notes

FILE_COLUMNS = ("file_name", "filename", "path", "image", "file")
MAX_DEPTH = 5


class Metadata(NamedTuple):
    """A table of images.

    Attributes:
        file: CSV or Parquet, with a column of paths: ``file_name``, ``filename``, ``path``, ``image`` or ``file``.
        below: The folder that these paths start from, within the folder of images; empty for that itself.
    """

    file: Path
    below: str = ""


def find_metadata(folder: str | Path) -> tuple[Metadata, ...]:
    """``metadata.csv`` or ``metadata.parquet`` in a folder of images, else those in the folders below it."""
    own = _metadata_in(Path(folder), "")
    if own or not Path(folder).is_dir():
        return own
    below = [path for path in sorted(Path(folder).iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return tuple(found for path in below for found in _metadata_in(path, path.name))


def _metadata_in(folder: Path, below: str) -> tuple[Metadata, ...]:
    there = [folder / name for name in METADATA if (folder / name).is_file()]
    return tuple(Metadata(file, below) for file in there[:1])


def described(names: Sequence[str], metadata: Sequence[Metadata]) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """A table with one row for each image that the metadata name, or for each image where there are none.

    Besides the columns of the metadata there are ``folder-1``, ``folder-2``, …: the folders that an image lies in,
    outermost first. The index is the position among ``names``.

    Args:
        names: The images' paths, with ``/``.
        metadata: Tables of them; none for no more than where they lie.

    Returns:
        The table; the paths in the metadata that are no image; remarks for the report.

    Raises:
        UserError: The metadata have no such column, name a file twice or no image, or lead out of the folder.

    >>> described(["cat/1.png", "dog/2.png"], ())[0]
      folder-1
    0      cat
    1      dog
    """
    folders = _folders(names)
    if not metadata:
        return folders, [], ()
    tables = [_table(each) for each in metadata]
    frame = pd.concat([table for table, _, _ in tables], ignore_index=True)
    paths = [path for _, found, _ in tables for path in found]
    notes = tuple(note for _, _, told in tables for note in told)
    place = pd.Series(range(len(names)), index=list(names), dtype="int64").reindex(paths)
    called = " and ".join(str(each.file) for each in metadata[:2])
    if not place.notna().any():
        raise UserError(f"{called} names {paths[0]!r} and no image that is there: write paths such as {names[0]!r}")
    missing = [path for path, found in zip(paths, place.notna(), strict=True) if not found]
    frame = frame[place.notna().to_numpy()].set_index(place.dropna().astype("int64").to_numpy()).sort_index()
    without = sorted(set(names) - set(paths))
    if without:
        notes = (*notes, f"left out, not in {metadata[0].file.name}: {count(len(without), 'image')} ({some(without)})")
    more = folders.loc[frame.index, [name for name in folders if name not in frame]]
    return pd.concat([frame, more], axis=1), missing, notes


def _folders(names: Sequence[str]) -> pd.DataFrame:
    split = [name.split("/")[:-1][:MAX_DEPTH] for name in names]
    depth = max(map(len, split), default=0)
    columns = {f"folder-{level + 1}": [p[level] if level < len(p) else None for p in split] for level in range(depth)}
    return pd.DataFrame(columns, index=range(len(names)))


def _table(metadata: Metadata) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """The columns, the paths as the images' names are written, and remarks."""
    frame, notes = read_with_notes(metadata.file)
    paths = _paths(frame, metadata.file)
    return frame, [str(PurePosixPath(metadata.below, path)) for path in paths], tuple(notes)


def _paths(frame: pd.DataFrame, metadata: Path) -> list[str]:
    """The paths within the folder of the metadata; the column that has them leaves the frame."""
    column = next((name for name in FILE_COLUMNS if name in frame), None)
    if column is None:
        raise UserError(f"{metadata} has no column of file names: call it file_name")
    values = frame.pop(column)
    if values.isna().any():
        raise UserError(f"{metadata}: {column} is missing in {count(int(values.isna().sum()), 'row')}: fill them in")
    paths = [PurePosixPath(str(value).replace("\\", "/")) for value in values]
    outside = [path for path in paths if path.is_absolute() or ".." in path.parts]
    if outside:
        raise UserError(f"{metadata} names {str(outside[0])!r}, which leads out of the folder: write paths within it")
    repeated = pd.Series(list(map(str, paths))).loc[lambda s: s.duplicated()]
    if len(repeated):
        raise UserError(f"{metadata} names {repeated.iloc[0]!r} more than once: keep one row for each image")
    return list(map(str, paths))
