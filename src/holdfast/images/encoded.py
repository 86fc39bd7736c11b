"""Images that are encoded in a column of a table, as the Hugging Face hub stores them, as rows made when asked for."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from holdfast.core.errors import UserError
from holdfast.core.words import count
from holdfast.images.files import SHOWN
from holdfast.images.headers import common_shape, header_of
from holdfast.images.pixels import decoded
from holdfast.images.stored import StoredReader

if TYPE_CHECKING:
    import pandas as pd

_SAMPLE = 100
_CHUNK = 4096


@dataclass(frozen=True)
class EncodedReader:
    """Decodes N images of one shape; a :class:`~holdfast.core.lazy.RowReader`.

    Attributes:
        images: (N,) encoded bytes.
        places: (N,) how messages name them.
        row_shape: (C, H, W), as :func:`~holdfast.images.pixels.read_pixels` takes it.
    """

    images: tuple[bytes, ...]
    places: tuple[str, ...]
    row_shape: tuple[int, int, int]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Tensor) -> Tensor:
        out = np.empty((len(rows), *self.row_shape), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            try:
                out[place] = decoded(io.BytesIO(self.images[row]), self.row_shape)
            except MemoryError:
                raise
            except Exception as error:  # Pillow's decoders raise whatever the bytes lead them to
                why = " ".join(str(error).split()) or type(error).__name__
                raise UserError(f"the image of {self.places[row]} cannot be decoded ({why}): drop the row") from None
        return torch.from_numpy(out)

    def take(self, rows: Tensor) -> EncodedReader:
        chosen = rows.tolist()
        images, places = (tuple(values[row] for row in chosen) for values in (self.images, self.places))
        return EncodedReader(images, places, self.row_shape)

    def in_memory(self) -> EncodedReader | StoredReader:
        """The same images, each decoded once and now; unchanged where 8 bits cannot hold them."""
        pixels = torch.empty(len(self), *self.row_shape, dtype=torch.uint8)
        for rows in torch.tensor_split(torch.arange(len(self)), math.ceil(len(self) / _CHUNK)):
            exact = self.read(rows)
            pixels[rows] = (exact * 255).round().to(torch.uint8)
            if not (pixels[rows] / 255).equal(exact):
                return self
        return StoredReader(self, pixels)

    def keys(self) -> Iterator[str]:
        return (hashlib.sha256(image).hexdigest() for image in self.images)


def is_image_column(series: pd.Series) -> bool:
    """Whether the values of a column are records of an image's bytes and path, judged by the first that are there."""
    present = series.dropna().iloc[:_SAMPLE]
    return len(present) > 0 and all(isinstance(value, dict) and {"bytes", "path"} == set(value) for value in present)


def encoded_images(series: pd.Series, where: str, size: int | None = None) -> tuple[EncodedReader, tuple[str, ...]]:
    """The images of a column, and remarks on their size.

    Args:
        series: (N,) records with the bytes of a PNG, JPEG or the like; its index numbers the rows from 0.
        where: How messages name the table.
        size: Height and width; None for the images' own size where it is common to all, else 64.

    Raises:
        UserError: Some are missing or cannot be read; pixels that are damaged show only when they are decoded.
    """
    images = tuple(_bytes(value) for value in series)
    heads = [header_of(image) for image in images]
    places = [f"row {row + 1:,}" for row in series.index.tolist()]
    faults = [f"{place}: {head.fault}" for place, head in zip(places, heads, strict=True) if head.fault]
    if faults:
        more = f" and {len(faults) - SHOWN:,} more" if len(faults) > SHOWN else ""
        raise UserError(
            f"{where}: {len(faults):,} of {count(len(images), 'image')} in column {series.name!r} cannot be read "
            f"({', '.join(faults[:SHOWN])}{more}): drop these rows, or store their images again"
        )
    shape, notes = common_shape(heads, size)
    named = tuple(f"{where}, column {series.name!r}, {place}" for place in places)
    return EncodedReader(images, named, shape), notes


def _bytes(value: Any) -> bytes:
    found = value.get("bytes") if isinstance(value, dict) else None
    return found if isinstance(found, bytes) else b""
