"""Linear filters of batches of images: blurs along both axes, along a line, and enlargement.

A filter along an axis of n pixels is its (n, n) matrix, edges included, so that a batch is two products of matrices.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Edge = Literal["nearest", "reflect", "mirror"]
"""What lies beyond the edges: the last pixel, or the image mirrored on the rim or on the middle of the last pixel."""

NEGLIGIBLE = 4e-4
"""A tenth of one of 255 levels: weights of a kernel that are together less are left out."""


def blurred(images: Tensor, sigma: float, *, truncate: float = 4.0, edge: Edge = "nearest") -> Tensor:
    """A Gaussian blur of (…, H, W), in pixels, without what is more than ``truncate`` deviations away."""
    height, width = (_gaussian(n, sigma, truncate, edge).to(images) for n in images.shape[-2:])
    return along_both(images, height, width)


def along_both(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A · X · Bᵀ for every image X of (…, H, W), with A (h, H) and B (w, W): (…, h, w)."""
    return torch.matmul(rows, torch.matmul(images, columns.T))


def smeared(images: Tensor, angles: Tensor, radius: int, sigma: float) -> Tensor:
    """Blur along a line, as ImageMagick's motion blur: the mean over whole pixels in one direction.

    The weights are those of a half of a Gaussian over 2·radius + 1 pixels; beyond the edges the edge goes on.

    Args:
        images: (N, C, H, W).
        angles: (N,) in radians, from the right to below.
        radius: In pixels.
        sigma: In pixels.
    """
    weights = _tail(radius, sigma)
    order = angles.argsort()
    steps = torch.arange(len(weights))
    x, y = ((steps * turn(angles[order, None].cpu()) - 0.5).ceil().long() for turn in (torch.cos, torch.sin))
    left, top, right, bottom = (max(0, int(side)) for side in (-x.min(), -y.min(), x.max(), y.max()))
    padded = F.pad(images[order], (left, right, top, bottom), mode="replicate")
    out = torch.zeros_like(images)
    height, width = images.shape[2:]
    for weight, across, down in zip(weights, (x + left).T.tolist(), (y + top).T.tolist(), strict=True):
        start = 0  # of a run of images that are moved alike, which the order by angle makes long
        for (i, j), run in itertools.groupby(zip(down, across, strict=True)):
            end = start + sum(1 for _ in run)
            out[start:end].add_(padded[start:end, :, i : i + height, j : j + width], alpha=weight)
            start = end
    return torch.empty_like(out).index_copy_(0, order, out)


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of (N, C, H, W) enlarged to the old size, bilinearly, the corners of the crop kept as corners."""
    sides = images.shape[2:]
    cropped, enlarged = zip(*(zoom_sizes(n, factor) for n in sides), strict=True)
    return zoomed_by_sizes(images, cropped, enlarged)


def zoom_sizes(n: int, factor: float) -> tuple[int, int]:
    """How many of n pixels are cut out of the middle, and to how many they are enlarged before the rest is cut off.

    >>> zoom_sizes(32, 1.05), zoom_sizes(32, 1.1)
    ((31, 33), (30, 33))
    """
    cropped = math.ceil(n / factor)
    return cropped, round(cropped * factor)


def zoomed_by_sizes(images: Tensor, cropped: tuple[int, ...], enlarged: tuple[int, ...]) -> Tensor:
    """The middle of (N, C, H, W), of the size ``cropped``, enlarged and its middle of the old size cut out."""
    middle = _middle(images, cropped)
    if cropped == enlarged:
        return middle
    large = F.interpolate(middle, size=list(enlarged), mode="bilinear", align_corners=True)
    return _middle(large, tuple(images.shape[2:]))


def _middle(images: Tensor, size: tuple[int, ...]) -> Tensor:
    top, left = ((n - m) // 2 for n, m in zip(images.shape[2:], size, strict=True))
    return images[:, :, top : top + size[0], left : left + size[1]]


def weighted(images: Tensor, kernel: Tensor) -> Tensor:
    """Means of (…, H, W) under the weights of a square kernel; beyond the edges the image is mirrored on its pixels.

    The kernel is a sum of a few that are products of two lines, by its singular values.
    """
    down, sizes, right = torch.linalg.svd(kernel.double())
    total = torch.zeros_like(images)
    for k in range(int((sizes > NEGLIGIBLE * sizes[0] / len(sizes)).sum())):
        lines = down[:, k] * sizes[k], right[k]
        matrices = (band(n, line, "mirror").to(images) for n, line in zip(images.shape[-2:], lines, strict=True))
        total += along_both(images, *matrices)
    return total


def band(n: int, weights: Tensor, edge: Edge) -> Tensor:
    """(n, n) matrix of the sums of an axis under weights (2k + 1,) around each pixel.

    >>> band(3, torch.tensor([0.25, 0.5, 0.25]), "nearest")
    tensor([[0.7500, 0.2500, 0.0000],
            [0.2500, 0.5000, 0.2500],
            [0.0000, 0.2500, 0.7500]])
    """
    reach = len(weights) // 2
    seen = torch.arange(n)[:, None] + torch.arange(-reach, reach + 1)
    if edge != "nearest":
        again = 2 * n if edge == "reflect" else max(2 * n - 2, 1)
        seen = seen % again
        seen = torch.minimum(seen, again - (edge == "reflect") - seen)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    return matrix.scatter_add_(1, seen.clamp(0, n - 1), weights.double().expand(n, -1)).float()


@functools.cache
def _gaussian(n: int, sigma: float, truncate: float, edge: Edge) -> Tensor:
    """(n, n) matrix of a Gaussian blur along an axis."""
    reach = int(truncate * sigma + 0.5)
    if not reach:
        return torch.eye(n)
    weights = torch.exp(-((torch.arange(-reach, reach + 1).double() / sigma) ** 2) / 2)
    return band(n, weights / weights.sum(), edge)


@functools.cache
def _tail(radius: int, sigma: float) -> tuple[float, ...]:
    """Weights of a half of a Gaussian, without those at the end that are negligible together."""
    weights = [math.exp(-((i / sigma) ** 2) / 2) for i in range(2 * radius + 1)]
    total = sum(weights)
    while weights[-1] < NEGLIGIBLE * total / len(weights):
        weights.pop()
    return tuple(weight / sum(weights) for weight in weights)
