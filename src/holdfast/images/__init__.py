"""Image files: finding them, checking them before they are needed, reading their pixels, what a table says of them."""

from __future__ import annotations

from holdfast.images.files import Found, ImageFile, find_images
from holdfast.images.headers import Header, headers
from holdfast.images.metadata import described, find_metadata
from holdfast.images.pixels import read_pixels
from holdfast.images.reader import ImageReader

__all__ = [
    "Found",
    "Header",
    "ImageFile",
    "ImageReader",
    "described",
    "find_images",
    "find_metadata",
    "headers",
    "read_pixels",
]
