"""Pictures in a table: a column of encoded images, as the Hugging Face hub stores them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from holdfast.core.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]


def is_image_column(series: pd.Series) -> bool:
    """Whether the values are records of encoded bytes and a path; missing ones aside."""
    present = series.dropna()
    return bool(len(present)) and all(isinstance(v, dict) and v.keys() == {"bytes", "path"} for v in present.iloc[:100])


def image_mode(series: pd.Series, where: str) -> str:
    """How to decode a column: ``L`` where every image is grey, else ``RGB``; only their headers are read.

    Raises:
        UserError: One is missing, damaged, or has more than 8 bits per value.
    """
    modes = set()
    for value, place in zip(series, _places(series, where), strict=True):
        with _opened(value, place) as image:
            if image.mode[0] in "IF":
                raise UserError(f"{place} has an image of more than 8 bits per value: store it with 8")
            modes.add(image.mode)
    return "L" if modes <= {"1", "L"} else "RGB"


def decode_image(value: Any, mode: str, where: str) -> Pixels:
    """One encoded image as (H, W) grey values, or (H, W, 3) colors.

    Args:
        value: A record with PNG or JPEG ``bytes``, or something else that is refused.
        mode: ``L`` for grey, ``RGB`` for colors.
        where: How messages name the place.

    Raises:
        UserError: The bytes are missing or hold no image.
    """
    with _opened(value, where) as image:
        return np.asarray(image.convert(mode))


def decode_column(series: pd.Series, mode: str, where: str) -> Pixels:
    """All images of a column whose images have one size, (N, H, W) or (N, H, W, 3).

    Args:
        series: (N,) records of encoded images; its index numbers the rows from 0.
        mode: ``L`` for grey, ``RGB`` for colors.
        where: How messages name the table.

    Raises:
        UserError: One is missing, damaged, or of another size than the first.
    """
    places = _places(series, where)
    images = [decode_image(value, mode, place) for value, place in zip(series, places, strict=True)]
    for image, place in zip(images, places, strict=True):
        if image.shape != images[0].shape:
            one, other = (f"{width} × {height}" for height, width, *_ in (images[0].shape, image.shape))
            raise UserError(f"{place} has an image of {other} pixels, the first one has {one}: bring them to one size")
    return np.stack(images)


@contextlib.contextmanager
def _opened(value: Any, where: str) -> Iterator[Image.Image]:
    """An encoded image, for reading its header or pixels inside the block."""
    from PIL import Image

    data = value.get("bytes") if isinstance(value, dict) else None
    if not data:
        raise UserError(f"{where} holds no image bytes: drop the row, or store the encoded PNG or JPEG there")
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{where} holds bytes that are no whole image: drop the row or store it again") from None


def _places(series: pd.Series, where: str) -> list[str]:
    return [f"{where}: column {series.name!r}, row {row + 1:,}" for row in series.index.tolist()]
