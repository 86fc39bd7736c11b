"""What is found out about image files before any is decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.images.files import find_images
from holdfast.images.headers import Header, headers

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def header(path: Path) -> Header:
    (only,) = headers(str(path.parent), find_images(path.parent).files)
    return only


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_whole_images_pass(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(NOISE).save(tmp_path / f"a.{suffix}")
    assert header(tmp_path / f"a.{suffix}") == Header(30, 40, False)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.95, 0.999])
def test_every_truncated_image_is_found(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(NOISE.repeat(4, 0)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert header(path).fault in ("truncated", "damaged", "no image")


def test_bytes_after_the_end_do_not_matter(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        Image.fromarray(NOISE).save(tmp_path / name)
        with (tmp_path / name).open("ab") as stream:
            stream.write(b"\0" * 100)
    assert [h.fault for h in headers(str(tmp_path), find_images(tmp_path).files)] == ["", ""]


@pytest.mark.parametrize(
    ("content", "fault"), [(b"", "empty"), (b"hello, world", "no image"), (b"\x89PNG\r\n\x1a\n", "no image")]
)
def test_what_is_no_image(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert header(tmp_path / "a.png").fault == fault


def test_what_pillow_could_read_but_we_do_not(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.ico")
    (tmp_path / "a.ico").rename(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "b.tif")
    faults = [h.fault for h in headers(str(tmp_path), find_images(tmp_path).files)]
    assert faults == ["no image", "pixels are floating-point numbers"]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 12_000, 60_000])
def test_an_image_that_would_fill_the_memory_is_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(bomb(side, side))
    assert "pixels" in header(tmp_path / "a.png").fault


@pytest.mark.parametrize(
    ("mode", "is_grey"),
    [("1", True), ("L", True), ("LA", True), ("I;16", True), ("P", False), ("RGB", False), ("RGBA", False)],
)
def test_color_is_told_from_the_mode(tmp_path: Path, mode: str, is_grey: bool) -> None:
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    assert header(tmp_path / "a.png") == Header(3, 2, is_grey)


def test_sizes_are_those_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", exif=exif)
    assert header(tmp_path / "a.jpg")[:2] == (40, 30)


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (3, 2)).save(path)
    assert header(path).fault == ""
    path.write_bytes(path.read_bytes()[:-5])
    assert header(path).fault == "truncated"
