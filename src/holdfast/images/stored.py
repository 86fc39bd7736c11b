"""Images that were decoded once and are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.lazy import RowReader


@dataclass(frozen=True)
class StoredReader:
    """The rows of another reader, made already; a :class:`~holdfast.core.lazy.RowReader`.

    Attributes:
        reader: The other.
        pixels: (N, C, H, W) what it makes, or uint8 that give it when divided by 255.
    """

    reader: RowReader
    pixels: Tensor

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.reader.row_shape

    @property
    def dtype(self) -> torch.dtype:
        return self.reader.dtype

    def __len__(self) -> int:
        return len(self.reader)

    def read(self, rows: Tensor) -> Tensor:
        chosen = self.pixels[rows]
        return chosen / 255 if chosen.dtype == torch.uint8 else chosen

    def take(self, rows: Tensor) -> StoredReader:
        return StoredReader(self.reader.take(rows), self.pixels[rows])

    def keys(self) -> Iterable[str]:
        return self.reader.keys()
