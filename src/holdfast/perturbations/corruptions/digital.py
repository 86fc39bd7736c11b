"""Digital: what processing and storing does to an image."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.perturbations.corruptions.corruption import Corruption
from holdfast.perturbations.corruptions.draws import Draws
from holdfast.perturbations.corruptions.filters import Edge, along_both, blurred
from holdfast.perturbations.corruptions.jpeg import jpeg


def contrast(images: Tensor, kept: float, draws: Draws) -> Tensor:
    """Values move toward the mean of their channel."""
    return torch.lerp(images.mean(dim=(2, 3), keepdim=True), images, kept)


def elastic_transform(images: Tensor, amount: tuple[float, float, float], draws: Draws) -> Tensor:
    """Bent like rubber: moved by a random affine map, then each pixel by a smooth random field.

    Simard, Steinkraus, Platt, *Best practices for convolutional neural networks applied to visual document analysis*,
    ICDAR 2003.

    Args:
        images: (N, C, H, W).
        amount: How far pixels move, how smooth the field is, and how far the corners of the triangle that fixes the
            affine map move: each in shares of the shorter side.
        draws: Choose the field and the corners.
    """
    H, W = images.shape[2:]
    far, smooth, corner = (share * min(H, W) for share in amount)
    target = _triangle(H, W) + corner * (2 * draws.uniform(3, 2).cpu() - 1)
    moved = _sampled(images, _affine(target, _triangle(H, W), H, W).to(images), edge="mirror")
    field = blurred(draws.uniform(2, H, W).mul_(2).sub_(1), smooth, truncate=3.0, edge="reflect").mul_(far)
    down, right = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    grid = torch.stack([right, down]).to(images)
    return _sampled(moved, field.add_(grid).movedim(1, 3), edge="reflect")


def pixelate(images: Tensor, share: float, draws: Draws) -> Tensor:
    """A coarser raster, of this share of the pixels along each side."""
    height, width = (_coarse(n, max(1, int(n * share))).to(images) for n in images.shape[2:])
    return along_both(images, height, width)


def jpeg_compression(images: Tensor, quality: int, draws: Draws) -> Tensor:
    """Stored as a JPEG file of this quality, see :func:`~holdfast.perturbations.corruptions.jpeg.jpeg`."""
    return jpeg(images, quality)


def saturate(images: Tensor, amount: tuple[float, float], draws: Draws) -> Tensor:
    """The saturation, as of hue, saturation and value, becomes this multiple of it plus this; grey images stay.

    A grey pixel of a color image counts as red, as is usual.
    """
    if images.shape[1] == 1:
        return images
    factor, added = amount
    value, least = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    spread = value - least
    grey = spread == 0
    saturation = spread / value.masked_fill(grey, 1.0)
    wanted = (saturation * factor + added).clamp_(0, 1)
    below = torch.where(grey, images.new_tensor((0.0, 1.0, 1.0))[:, None, None], (value - images) / spread)
    return value - below.mul_(wanted).mul_(value)


def _triangle(height: int, width: int) -> Tensor:
    """(3, 2) corners (x, y) of a triangle around the middle."""
    x, y, third = width // 2, height // 2, min(height, width) // 3
    return torch.tensor([(x + third, y + third), (x + third, y - third), (x - third, y - third)]).float()


def _affine(source: Tensor, target: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel lies after the affine map that takes a triangle (N, 3, 2) to another (3, 2): (N, H, W, 2)."""
    ones = torch.ones(len(source), 3, 1)
    matrix = torch.linalg.solve(torch.cat([source, ones], 2).double(), target.double().expand(len(source), -1, -1))
    along, across = (torch.arange(n, dtype=torch.float64) for n in (height, width))
    right, down, start = (matrix[:, row, None, None] for row in range(3))
    places: Tensor = across[:, None] * right + along[:, None, None] * down + start
    return places


def _sampled(images: Tensor, places: Tensor, edge: Edge) -> Tensor:
    """Values of (N, C, H, W) at places (x, y) in pixels, (N, H, W, 2), bilinear; ``edge`` is one of the mirrors."""
    on_pixels = edge == "mirror"
    size = torch.tensor([images.shape[3], images.shape[2]], device=images.device)
    grid = places * (2 / (size - 1)) - 1 if on_pixels else (2 * places + 1) / size - 1
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=on_pixels)


@functools.cache
def _coarse(n: int, few: int) -> Tensor:
    """(n, n) matrix that takes an axis to few pixels and back: means of whole pixels, and the nearest."""
    middle = (torch.arange(few, dtype=torch.float64) + 0.5) * (n / few)
    distance = (torch.arange(n) + 0.5 - middle[:, None]) * (few / n)
    inside = ((distance > -0.5) & (distance <= 0.5)).float()
    means = inside / inside.sum(dim=1, keepdim=True)
    nearest = ((torch.arange(n) + 0.5) * (few / n)).long()
    return means[nearest]


_SLIP = 244 / 224
"""The published amounts are shares of 244 pixels, though the images have 224."""

DIGITAL: Mapping[str, Corruption] = {
    "contrast": Corruption(contrast, {"cifar": (0.75, 0.5, 0.4, 0.3, 0.15), "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05)}),
    "elastic-transform": Corruption(
        elastic_transform,
        {
            "cifar": (
                (0.0, 0.0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            ),
            "imagenet": (
                (2.0 * _SLIP, 0.7 * _SLIP, 0.1 * _SLIP),
                (2.0 * _SLIP, 0.08 * _SLIP, 0.2 * _SLIP),
                (0.05 * _SLIP, 0.01 * _SLIP, 0.02 * _SLIP),
                (0.07 * _SLIP, 0.01 * _SLIP, 0.02 * _SLIP),
                (0.12 * _SLIP, 0.01 * _SLIP, 0.02 * _SLIP),
            ),
        },
    ),
    "pixelate": Corruption(pixelate, {"cifar": (0.95, 0.9, 0.85, 0.75, 0.65), "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25)}),
    "jpeg-compression": Corruption(jpeg_compression, {"cifar": (80, 65, 58, 50, 40), "imagenet": (25, 18, 15, 10, 7)}),
    "saturate": Corruption(
        saturate,
        {
            "cifar": ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
            "imagenet": ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
        },
    ),
}
"""Digital changes by name."""
