"""What the first and last bytes of image files tell, before any is decoded."""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from holdfast.images.files import ImageFile

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 1 << 26
"""An image of more pixels is refused: a small file can hold so many that decoding it fills the memory."""
USUAL_SIZE = 64
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}
_TAIL = 4096  # some programs append bytes after the end marker
_ROTATED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """What is known of an image without decoding it.

    Attributes:
        width, height: Upright, in pixels.
        is_grey: Whether it has no color.
        fault: Why it cannot be used; empty where nothing speaks against it.
    """

    width: int
    height: int
    is_grey: bool
    fault: str = ""


@functools.lru_cache(maxsize=1)
def headers(folder: str, files: tuple[ImageFile, ...]) -> tuple[Header, ...]:
    """The headers of files in a folder; those of the last call are kept, since each fold of a task asks for them.

    A file passes if it is not empty, its header can be read, it has at most 2²⁶ pixels, and a PNG or JPEG has its
    end. Pixels that are damaged in between show only when they are decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about many pixels: they are counted here
        return tuple(_header(os.path.join(folder, file.name), file.size) for file in files)  # noqa: PTH118  # fast


def header_of(image: bytes) -> Header:
    """The header of an image in memory, which passes as a file does."""
    if not image:
        return Header(0, 0, False, "empty")
    try:
        return _read(io.BytesIO(image), len(image))
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        return Header(0, 0, False, _plainly(error))


def common_shape(heads: Sequence[Header], size: int | None) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """The shape (C, H, W) that images are brought to, and a note where that is not their own.

    Args:
        heads: Of the images.
        size: Height and width; None for the images' own size where it is common to all, else 64.
    """
    channels = 1 if all(head.is_grey for head in heads) else 3
    sizes = Counter((head.height, head.width) for head in heads)
    common = next(iter(sizes)) if len(sizes) == 1 else (USUAL_SIZE, USUAL_SIZE)
    height, width = (size, size) if size else common
    if set(sizes) == {(height, width)}:
        return (channels, height, width), ()
    of = "of several sizes" if len(sizes) > 1 else f"{common[1]}×{common[0]}"
    return (channels, height, width), (f"images are {of}: cut around the centre and resized to {width}×{height}",)


def _header(path: str, size: int) -> Header:
    if size == 0:
        return Header(0, 0, False, "empty")
    try:
        with Path(path).open("rb") as stream:
            return _read(stream, size)
    except PermissionError:
        return Header(0, 0, False, "may not be read")
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        return Header(0, 0, False, _plainly(error))


def _read(stream: IO[bytes], size: int) -> Header:
    from PIL import Image

    image = Image.open(stream, formats=FORMATS)
    width, height = image.size
    if "exif" in image.info and image.getexif().get(_ORIENTATION) in _ROTATED:
        width, height = height, width
    fault = ""
    if width * height > MAX_PIXELS:
        fault = f"{width * height / 1e6:,.0f} million pixels"
    elif image.mode == "F":
        fault = "pixels are floating-point numbers"
    elif end := _ENDS.get(image.format or ""):
        stream.seek(max(0, size - _TAIL))
        fault = "" if end in stream.read() else "truncated"
    return Header(width, height, image.mode in _GREY, fault)


def _plainly(error: Exception) -> str:
    name = type(error).__name__
    if name == "UnidentifiedImageError":
        return "no image"
    return "too many pixels" if name.startswith("DecompressionBomb") else "damaged"
