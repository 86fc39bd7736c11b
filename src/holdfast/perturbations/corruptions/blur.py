"""Blurs: a value becomes a mean over its surroundings, or one of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.perturbations.corruptions.corruption import Corruption
from holdfast.perturbations.corruptions.draws import Draws
from holdfast.perturbations.corruptions.filters import blurred, smeared, weighted, zoom_sizes, zoomed_by_sizes


def gaussian_blur(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    """A Gaussian blur, in pixels."""
    return blurred(images, sigma)


def defocus_blur(images: Tensor, amount: tuple[float, float], draws: Draws) -> Tensor:
    """Out of focus: the mean over a disk.

    Args:
        images: (N, C, H, W).
        amount: Radius of the disk and deviation of the blur that softens its rim, in pixels.
        draws: Not used.
    """
    return weighted(images, _disk(*amount))


def glass_blur(images: Tensor, amount: tuple[float, int, int], draws: Draws) -> Tensor:
    """Through frosted glass: blurred, each pixel replaced by a near one, and blurred again.

    The paper speaks of exchanges, but the published script copies: in numpy both sides of its exchange are views.
    Pixels are replaced one after the other from the lower right to the upper left; those that are out of each other's
    reach are replaced at once, which leaves the outcome as it is.

    Args:
        images: (N, C, H, W).
        amount: Deviation of the blur, how far away the other pixel is at most, and how many rounds.
        draws: Choose the other pixels.
    """
    sigma, reach, rounds = amount
    N, _, H, W = images.shape
    seen = torch.arange(H * W, device=images.device).repeat(N, 1)
    for _ in range(rounds):
        down, right = (draws.uniform(2, H * W) * 2 * reach).long().sub_(reach).unbind(1)
        other = torch.arange(H * W, device=images.device) + down * W + right
        for pixels in _together(H, W, reach):
            places = pixels.to(images.device).expand(N, -1)
            seen.scatter_(1, places, seen.gather(1, other.gather(1, places)))
    first = blurred(images, sigma).flatten(2)
    shuffled = first.gather(2, seen[:, None].expand(-1, first.shape[1], -1))
    return blurred(shuffled.view_as(images), sigma)


def motion_blur(images: Tensor, amount: tuple[int, float], draws: Draws) -> Tensor:
    """As of a moving camera: a blur along a line, between 45° upward and 45° downward.

    Args:
        images: (N, C, H, W).
        amount: Radius and deviation in pixels, see :func:`~holdfast.perturbations.corruptions.filters.smeared`.
        draws: Choose the angles.
    """
    angles = (draws.uniform(1)[:, 0] - 0.5) * (math.pi / 2)
    return smeared(images, angles, *amount)


def zoom_blur(images: Tensor, amount: tuple[int, float], draws: Draws) -> Tensor:
    """As of a camera that comes nearer: the mean of the image, counted twice, and of its middle enlarged.

    Args:
        images: (N, C, H, W).
        amount: How many factors of enlargement, the first of which is one, and the step between them.
        draws: Not used.
    """
    number, step = amount
    sizes = Counter(tuple(zoom_sizes(n, 1 + step * k) for n in images.shape[2:]) for k in range(number))
    total = images.clone()
    for ((height, tall), (width, wide)), times in sizes.items():
        total.add_(zoomed_by_sizes(images, (height, width), (tall, wide)), alpha=times)
    return total.div_(number + 1)


def _disk(radius: float, softened: float) -> Tensor:
    """(K, K) kernel of a disk, blurred over 3 pixels (5 for a large one)."""
    reach = math.floor(radius)
    rim = 1 if radius <= 8 else 2
    line = torch.arange(-reach - rim, reach + rim + 1).double()
    disk = ((line[:, None] ** 2 + line**2) <= radius**2).double()
    weights = torch.exp(-((torch.arange(-rim, rim + 1).double() / softened) ** 2) / 2)
    window = torch.outer(weights, weights)
    soft = F.conv2d(disk[None, None], window[None, None], padding=rim)[0, 0]
    return soft / soft.sum()


def _together(height: int, width: int, reach: int) -> Iterator[Tensor]:
    """Positions in a flattened image that are replaced at once, in order.

    Counted from the lower right a pixel is in row i and column j. It is replaced at the time i · (2 · reach + 1) + j:
    later than all before it within its reach, and with none of them.
    """
    rows = torch.arange(height - reach, reach, -1)
    columns = torch.arange(width - reach, reach, -1)
    time = torch.arange(len(rows))[:, None] * (2 * reach + 1) + torch.arange(len(columns))
    pixels = (rows[:, None] * width + columns).flatten()
    order = time.flatten().argsort(stable=True)
    sizes = time.flatten().bincount()
    yield from torch.split(pixels[order], sizes.tolist())


BLURS: Mapping[str, Corruption] = {
    "defocus-blur": Corruption(
        defocus_blur,
        {
            "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
            "imagenet": ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
        },
    ),
    "glass-blur": Corruption(
        glass_blur,
        {
            "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        },
    ),
    "motion-blur": Corruption(
        motion_blur,
        {
            "cifar": ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
            "imagenet": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        },
    ),
    "zoom-blur": Corruption(
        zoom_blur,
        {
            "cifar": ((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)),
            "imagenet": ((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)),
        },
    ),
    "gaussian-blur": Corruption(
        gaussian_blur, {"cifar": (0.4, 0.6, 0.7, 0.8, 1.0), "imagenet": (1.0, 2.0, 3.0, 4.0, 6.0)}
    ),
}
"""The blurs by name."""
