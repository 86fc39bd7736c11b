"""Image files as rows that are made when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from holdfast.images.files import ImageFile
from holdfast.images.pixels import read_pixels
from holdfast.images.stored import StoredReader

_WORKERS = 4
_LARGE = 1 << 15
"""Bytes of a file from which several threads are faster than one: less, and they wait for Python's lock."""


@dataclass(frozen=True)
class ImageReader:
    """Reads N images of one shape; a :class:`~holdfast.core.lazy.RowReader`.

    Attributes:
        folder: Where they are.
        files: (N,) the images.
        row_shape: (C, H, W), as :func:`~holdfast.images.pixels.read_pixels` takes it.
    """

    folder: str
    files: tuple[ImageFile, ...]
    row_shape: tuple[int, int, int]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: Tensor) -> Tensor:
        chosen = [self.files[row] for row in rows.tolist()]
        out = np.empty((len(chosen), *self.row_shape), dtype=np.float32)

        def fill(place: int) -> None:
            out[place] = read_pixels(os.path.join(self.folder, chosen[place].name), self.row_shape)  # noqa: PTH118

        if sum(file.size for file in chosen) < _LARGE * len(chosen):
            for place in range(len(chosen)):
                fill(place)
        else:
            with ThreadPoolExecutor(_WORKERS) as workers:
                list(workers.map(fill, range(len(chosen))))
        return torch.from_numpy(out)

    def take(self, rows: Tensor) -> ImageReader:
        files = tuple(self.files[row] for row in rows.tolist())
        return ImageReader(self.folder, files, self.row_shape)

    def in_memory(self) -> StoredReader:
        """The same images, each read once and now."""
        return StoredReader(self, self.read(torch.arange(len(self))))

    def keys(self) -> Iterator[str]:
        return (f"{file.name}\0{file.size}\0{file.changed}" for file in self.files)
