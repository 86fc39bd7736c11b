"""From files of every kind to numbers in [0, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.core.errors import UserError
from holdfast.images.pixels import read_pixels

COLOR = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = COLOR[..., 0]


def read(path: Path, image: Image.Image, shape: tuple[int, int, int] = (3, 4, 6), **options: object) -> np.ndarray:
    image.save(path, **options)
    pixels = read_pixels(path, shape)
    assert pixels.dtype == np.float32
    assert pixels.shape == shape
    return pixels


def test_color_and_grey_are_their_bytes_over_255(tmp_path: Path) -> None:
    expected = COLOR.transpose(2, 0, 1) / np.float32(255)
    for suffix in ("png", "bmp", "tif", "ppm"):
        np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}", Image.fromarray(COLOR)), expected)
    grey = GREY[None] / np.float32(255)
    np.testing.assert_array_equal(read(tmp_path / "g.png", Image.fromarray(GREY), (1, 4, 6)), grey)
    np.testing.assert_array_equal(read(tmp_path / "g.png", Image.fromarray(GREY)), grey.repeat(3, 0))


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    deep = np.array([[0, 1, 256, 65535]], dtype=np.uint16)
    pixels = read(tmp_path / "a.png", Image.fromarray(deep), (1, 1, 4))
    np.testing.assert_allclose(pixels[0, 0], [0, 1 / 65535, 256 / 65535, 1], rtol=1e-6)
    resized = read(tmp_path / "a.png", Image.fromarray(deep.repeat(4, 0)), (3, 2, 2))
    np.testing.assert_allclose(resized[:, 0, 1], 1 / 2, atol=0.2)
    assert resized.max() <= 1


def test_one_bit_palettes_and_transparency(tmp_path: Path) -> None:
    bits = Image.fromarray(GREY > 128)
    np.testing.assert_array_equal(read(tmp_path / "b.png", bits, (1, 4, 6))[0], (GREY > 128).astype(np.float32))
    palette = Image.fromarray(COLOR).quantize(24)
    np.testing.assert_array_equal(
        read(tmp_path / "p.png", palette), np.asarray(palette.convert("RGB")).transpose(2, 0, 1) / np.float32(255)
    )
    clear = Image.new("RGBA", (6, 4), (255, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    clear.putpixel((1, 0), (0, 0, 0, 128))
    pixels = read(tmp_path / "c.png", clear)
    assert pixels[:, 0, 0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(pixels[:, 0, 1], 127 / 255, atol=0.005)
    assert (pixels[:, 1:] == 1).all()
    grey = read(tmp_path / "l.png", Image.new("LA", (6, 4), (0, 0)), (1, 4, 6))
    assert (grey == 1).all()
    keyed = read(tmp_path / "k.png", Image.new("RGB", (6, 4), (9, 9, 9)), transparency=(9, 9, 9))
    assert (keyed == 1).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_images_stand_upright(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    lying = np.zeros((16, 32, 3), dtype=np.uint8)
    lying[:, :16] = 255
    pixels = read(tmp_path / f"a.{suffix}", Image.fromarray(lying), (3, 32, 16), exif=exif)
    assert pixels[:, :14].min() > 0.9
    assert pixels[:, 18:].max() < 0.1


def test_another_size_is_cut_around_the_centre_and_resized(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), dtype=np.uint8)
    wide[:, 8:16] = 200  # the middle square
    square = read(tmp_path / "a.png", Image.fromarray(wide), (3, 4, 4))
    np.testing.assert_array_equal(square[..., 1:3], np.float32(200) / np.float32(255))
    assert square.min() > 0.6  # the filter looks a little beyond the cut
    fine = np.zeros((8, 8, 3), dtype=np.uint8)
    fine[::2] = 255
    middle = read(tmp_path / "b.png", Image.fromarray(fine), (3, 2, 2))
    np.testing.assert_allclose(middle, 0.5, atol=0.1)  # averaged, not picked


def test_a_large_jpeg_is_read_like_a_small_one(tmp_path: Path) -> None:
    slope = np.linspace(0, 255, 1024).astype(np.uint8)
    pixels = read(
        tmp_path / "a.jpg", Image.fromarray(np.stack([slope.repeat(1024).reshape(1024, 1024)] * 3, -1)), (3, 8, 8)
    )
    np.testing.assert_allclose(pixels[0, :, 0], (np.arange(8) + 0.5) / 8, atol=0.02)


def test_of_several_frames_the_first(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("white", "black")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_pixels(tmp_path / "a.gif", (3, 4, 6)) == 1).all()


def test_a_file_that_went_bad_or_went_away_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(COLOR.repeat(20, 0)).save(path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png cannot be decoded \(.*\): mend or remove it and run again"):
        read_pixels(path, (3, 80, 6))
    path.unlink()
    with pytest.raises(UserError, match=r"a\.png is gone"):
        read_pixels(path, (3, 80, 6))
