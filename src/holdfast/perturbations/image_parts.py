"""Parts of pictures that one can take from another: its color, its brightness, a region, its border.

Every function maps pictures and donors, both (N, C, H, W) in [0, 1], to pictures; a picture that is its own donor stays
as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Change = Callable[[Tensor, Tensor], Tensor]
_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")
_DARK = 1e-3


def image_swaps(shape: tuple[int, ...]) -> Mapping[str, Change]:
    """The parts of pictures of a shape (C, H, W), by name: nine regions, the border, brightness, and color if C is 3.

    >>> sorted(image_swaps((1, 2, 2)))
    ['border', 'brightness']
    """
    channels, height, width = shape
    parts: dict[str, Change] = {"color": with_color_of} if channels == 3 else {}
    parts |= {"brightness": with_brightness_of, "border": functools.partial(with_border_of, width=_border(shape))}
    if min(height, width) < 3:
        return parts
    for i, row in enumerate(_ROWS):
        for j, column in enumerate(_COLUMNS):
            rows, columns = _third(height, i), _third(width, j)
            parts[f"{row} {column}"] = functools.partial(with_region_of, rows=rows, columns=columns)
    return parts


def with_color_of(images: Tensor, donors: Tensor) -> Tensor:
    """Each pixel keeps its brightness and what sets it off from its picture's mean color; that mean is the donor's."""
    brightness = images.mean(dim=1, keepdim=True)
    return (images + brightness * (_mean_color(donors) - _mean_color(images))).clamp(0, 1)


def with_brightness_of(images: Tensor, donors: Tensor) -> Tensor:
    """All pixels are scaled, so that the mean is the donor's where no pixel leaves the range."""
    own, others = (x.mean(dim=(1, 2, 3), keepdim=True) for x in (images, donors))
    return torch.where(own > _DARK, images * (others / own.clamp_min(_DARK)), images).clamp(0, 1)


def with_region_of(images: Tensor, donors: Tensor, *, rows: slice, columns: slice) -> Tensor:
    """A rectangle is the donor's."""
    changed = images.clone()
    changed[:, :, rows, columns] = donors[:, :, rows, columns]
    return changed


def with_border_of(images: Tensor, donors: Tensor, *, width: int) -> Tensor:
    """The outermost ``width`` pixels on all sides are the donor's."""
    changed = donors.clone()
    inner = (slice(None), slice(None), slice(width, -width), slice(width, -width))
    changed[inner] = images[inner]
    return changed


def _mean_color(images: Tensor) -> Tensor:
    """(N, 3, 1, 1) mean of each channel over that of all three: 1 for grey."""
    total = images.sum(dim=(2, 3), keepdim=True)
    return total / total.mean(dim=1, keepdim=True).clamp_min(_DARK)


def _border(shape: tuple[int, ...]) -> int:
    return max(1, min(shape[1:]) // 8)


def _third(length: int, place: int) -> slice:
    ends = [round(length * k / 3) for k in range(4)]
    return slice(ends[place], ends[place + 1])
