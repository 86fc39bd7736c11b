"""From an image file to numbers."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from holdfast.core.errors import UserError
from holdfast.images.headers import FORMATS, MAX_PIXELS

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

_SIXTEEN_BITS = 65535.0


def read_pixels(path: str | Path, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """The pixels of an image, upright, (C, H, W) in [0, 1].

    Of several frames the first is taken. Transparent parts are laid on white. 8 and 16 bits are both scaled by the
    largest number they can hold. An image of another size is cut to the shape's proportions around its centre and
    resized with an antialiased bilinear filter.

    Args:
        path: The file.
        shape: (C, H, W) with C = 1 for grey or 3 for RGB.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return decoded(stream, shape)
    except MemoryError:
        raise
    except FileNotFoundError:
        raise UserError(f"the image {path} is gone: put it back, or run again without it") from None
    except Exception as error:  # Pillow's decoders raise whatever the bytes lead them to
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the image {path} cannot be decoded ({why}): mend or remove it and run again") from None


def decoded(stream: IO[bytes], shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """As :func:`read_pixels`, from an open file; raises whatever Pillow's decoders do."""
    from PIL import Image

    with Image.open(stream, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (2 * max(shape[1:]), 2 * max(shape[1:])))  # a large JPEG need not be decoded whole
        return _upright(image, shape)


def _upright(image: Image.Image, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    from PIL import Image, ImageOps

    channels, height, width = shape
    image.load()  # a PNG's orientation may stand behind its pixels
    if "exif" in image.info:
        ImageOps.exif_transpose(image, in_place=True)
    deep = image.mode.startswith("I")
    if deep:
        image = Image.fromarray(np.asarray(image, dtype=np.float32) / np.float32(_SIXTEEN_BITS))
    else:
        image = _plain(image, "L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
    numbers = np.asarray(image, dtype=np.float32).reshape(height, width, -1).transpose(2, 0, 1)
    scaled = numbers.clip(0, 1) if deep else numbers / np.float32(255)
    return scaled if len(scaled) == channels else np.broadcast_to(scaled, shape)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """In a mode without transparency: what shines through is white."""
    from PIL import Image

    if image.mode == mode and "transparency" not in image.info:
        return image
    if not image.has_transparency_data:
        return image.convert(mode)
    above = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert(mode)
