"""Images in files and tables: finding and checking them, reading their pixels, what a table says of them."""

from __future__ import annotations

from holdfast.images.encoded import EncodedReader, encoded_images, is_image_column
from holdfast.images.files import Found, ImageFile, find_images
from holdfast.images.headers import Header, common_shape, header_of, headers
from holdfast.images.metadata import Metadata, described, find_metadata
from holdfast.images.pixels import read_pixels
from holdfast.images.reader import ImageReader
from holdfast.images.stored import StoredReader

__all__ = [
    "EncodedReader",
    "Found",
    "Header",
    "ImageFile",
    "ImageReader",
    "Metadata",
    "StoredReader",
    "common_shape",
    "described",
    "encoded_images",
    "find_images",
    "find_metadata",
    "header_of",
    "headers",
    "is_image_column",
    "read_pixels",
]
