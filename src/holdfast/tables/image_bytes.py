"""Pictures in a table: a column of encoded images, as the Hugging Face hub stores them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from holdfast.core.errors import UserError

Pixels = npt.NDArray[np.uint8]


def is_image_column(series: pd.Series) -> bool:
    """Whether the values are records of encoded bytes and a path; missing ones aside."""
    present = series.dropna()
    return bool(len(present)) and all(isinstance(v, dict) and v.keys() == {"bytes", "path"} for v in present.iloc[:100])


def decode_image(value: Any, mode: str, where: str) -> Pixels:
    """One encoded image as (H, W) grey values, or (H, W, 3) colors.

    Args:
        value: A record with PNG or JPEG ``bytes``, or something else that is refused.
        mode: ``L`` for grey, ``RGB`` for colors.
        where: How messages name the place.

    Raises:
        UserError: The bytes are missing or hold no image.
    """
    from PIL import Image

    data = value.get("bytes") if isinstance(value, dict) else None
    if not data:
        raise UserError(f"{where} holds no image bytes: drop the row, or store the encoded PNG or JPEG there")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{where} holds bytes that are no whole image: drop the row or store it again") from None


def decode_column(series: pd.Series, mode: str, where: str) -> Pixels:
    """All images of a column whose images have one size, (N, H, W) or (N, H, W, 3).

    Args:
        series: (N,) records of encoded images; its index numbers the rows from 0.
        mode: ``L`` for grey, ``RGB`` for colors.
        where: How messages name the table.

    Raises:
        UserError: One is missing, damaged, or of another size than the first.
    """
    places = [f"{where}: column {series.name!r}, row {row + 1:,}" for row in series.index.tolist()]
    images = [decode_image(value, mode, place) for value, place in zip(series, places, strict=True)]
    for image, place in zip(images, places, strict=True):
        if image.shape != images[0].shape:
            one, other = (f"{width} × {height}" for height, width, *_ in (images[0].shape, image.shape))
            raise UserError(f"{place} has an image of {other} pixels, the first one has {one}: bring them to one size")
    return np.stack(images)
