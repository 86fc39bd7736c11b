"""The image files below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from holdfast.core.errors import UserError
from holdfast.core.words import count

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})
METADATA = ("metadata.csv", "metadata.parquet")
SHOWN = 10


class ImageFile(NamedTuple):
    """One file.

    Attributes:
        name: Its path below the folder, with ``/``.
        size: Bytes.
        changed: When its content was changed, in nanoseconds.
    """

    name: str
    size: int
    changed: int


@dataclass(frozen=True)
class Found:
    """The images of a folder in order of their names, and remarks on what else is there."""

    files: tuple[ImageFile, ...]
    notes: tuple[str, ...] = ()


def find_images(folder: str | Path) -> Found:
    """Every image file in a folder and the folders below it; links are followed, hidden files and folders are not.

    Args:
        folder: Where to look.

    Raises:
        UserError: There is no such folder, or it may not be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.png").write_bytes(b""), Path(folder, "notes.txt").write_bytes(b"")
    ...     found = find_images(folder)
    >>> [file.name for file in found.files], found.notes
    (['a.png'], ('ignored, as no image: 1 file (notes.txt)',))
    """
    walk = _Walk([], [], [])
    try:
        walk.enter(Path(folder), "", frozenset())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"there is no folder {folder}: check the path") from None
    except PermissionError as error:
        raise UserError(f"{error.filename} may not be read: ask for read permission") from None
    notes = []
    if walk.others:
        notes.append(f"ignored, as no image: {count(len(walk.others), 'file')} ({some(walk.others)})")
    if walk.loops:
        notes.append(f"ignored, as a link to a folder above it or to nothing: {some(walk.loops)}")
    return Found(tuple(sorted(walk.images)), tuple(notes))


def holds_images(folder: str | Path) -> bool:
    """Whether a folder of images is meant: the first image that is found below it says so, a table in it does not."""
    entries = list(os.scandir(folder))
    tables = [e.name for e in entries if Path(e.name).suffix.lower() in (".csv", ".tsv", ".parquet", ".pq")]
    if set(tables) - set(METADATA):
        return False
    return any(Path(name).suffix.lower() in SUFFIXES for _, _, names in os.walk(folder) for name in names)


def some(names: list[str]) -> str:
    """The first names, and how many more there are.

    >>> some(["a", "b"])
    'a, b'
    """
    names = sorted(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


@dataclass
class _Walk:
    images: list[ImageFile]
    others: list[str]
    loops: list[str]

    def enter(self, folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> None:
        """Look at a folder whose files' names begin with a prefix; ``above`` are the folders that lead to it."""
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            self.loops.append(prefix.rstrip("/"))
            return
        with os.scandir(folder) as entries:
            for entry in _visible(entries):
                self._meet(entry, prefix, above | {here})

    def _meet(self, entry: os.DirEntry[str], prefix: str, above: frozenset[tuple[int, int]]) -> None:
        name = prefix + entry.name
        try:
            if entry.is_dir():
                self.enter(Path(entry.path), name + "/", above)
                return
            status = entry.stat()
        except PermissionError:
            raise
        except OSError:  # a link to itself or to nothing
            self.loops.append(name)
            return
        if Path(name).suffix.lower() in SUFFIXES:
            self.images.append(ImageFile(name, status.st_size, status.st_mtime_ns))
        elif name not in METADATA:
            self.others.append(name)


def _visible(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in entries if not entry.name.startswith((".", "__MACOSX")))
