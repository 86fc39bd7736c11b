"""Grey images in color, put together when a batch needs them: bytes in memory, numbers only for the rows in use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


def paint(images: Tensor, colors: Tensor) -> Tensor:
    """Intensity × color on black.

    Args:
        images: (N, H, W) uint8.
        colors: (N, C) in [0, 1].

    Returns:
        (N, C, H, W) float32 in [0, 1].
    """
    return images[:, None] / 255 * colors[:, :, None, None]


@dataclass(frozen=True, eq=False)
class PaintedReader:
    """N painted images; a :class:`~holdfast.core.lazy.RowReader`.

    Attributes:
        images: (N, H, W) uint8.
        colors: (N, C) in [0, 1].
    """

    images: Tensor
    colors: Tensor
    dtype: torch.dtype = torch.float32

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.colors.shape[1], self.images.shape[1], self.images.shape[2]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Tensor) -> Tensor:
        return paint(self.images[rows], self.colors[rows])

    def take(self, rows: Tensor) -> PaintedReader:
        return PaintedReader(self.images[rows], self.colors[rows], self.dtype)

    def keys(self) -> Iterator[str]:
        pairs = zip(self.images.numpy(), self.colors.numpy(), strict=True)
        return (hashlib.sha256(image.tobytes() + color.tobytes()).hexdigest() for image, color in pairs)


@dataclass(frozen=True, eq=False)
class BytesReader:
    """N images as they are; a :class:`~holdfast.core.lazy.RowReader`.

    Attributes:
        images: (N, C, H, W) uint8.
    """

    images: Tensor
    dtype: torch.dtype = torch.float32

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Tensor) -> Tensor:
        return self.images[rows] / 255

    def take(self, rows: Tensor) -> BytesReader:
        return BytesReader(self.images[rows], self.dtype)

    def keys(self) -> Iterator[str]:
        return (hashlib.sha256(image.tobytes()).hexdigest() for image in self.images.numpy())


def paint_background(images: Tensor, colors: Tensor, coverage: float) -> Tensor:
    """White figures over a colored background.

    Args:
        images: (N, H, W) uint8.
        colors: (N, C) in [0, 1].
        coverage: The share of the height, from the top, that is colored; black below.

    Returns:
        (N, C, H, W) float32 in [0, 1].
    """
    figure = images[:, None] / 255
    colored = torch.arange(images.shape[1]) < coverage * images.shape[1]
    return figure + (1 - figure) * colors[:, :, None, None] * colored[:, None]


@dataclass(frozen=True, eq=False)
class BackgroundReader:
    """N images over colored backgrounds; a :class:`~holdfast.core.lazy.RowReader`.

    Attributes:
        images: (N, H, W) uint8.
        colors: (N, C) in [0, 1].
        coverage: The share of the height that is colored.
    """

    images: Tensor
    colors: Tensor
    coverage: float
    dtype: torch.dtype = torch.float32

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.colors.shape[1], self.images.shape[1], self.images.shape[2]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Tensor) -> Tensor:
        return paint_background(self.images[rows], self.colors[rows], self.coverage)

    def take(self, rows: Tensor) -> BackgroundReader:
        return BackgroundReader(self.images[rows], self.colors[rows], self.coverage, self.dtype)

    def keys(self) -> Iterator[str]:
        for image, color in zip(self.images.numpy(), self.colors.numpy(), strict=True):
            content = image.tobytes() + color.tobytes() + repr(self.coverage).encode()
            yield hashlib.sha256(content).hexdigest()
