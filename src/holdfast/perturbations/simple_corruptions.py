"""Simple corruptions of small images: a few, each of five severities.

The idea of named corruptions with severities is that of Hendrycks, Dietterich, *Benchmarking neural network robustness
to common corruptions and perturbations*, ICLR 2019, arXiv:1903.12261; amounts here are chosen for small images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Corruption = Callable[[Tensor, int, torch.Generator], Tensor]
"""``(images, severity, rng) -> images``: both (N, C, H, W) in [0, 1]; the severity is 1 to 5."""


def gaussian_noise(images: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """Independent normal noise on every value."""
    std = _chosen((0.08, 0.16, 0.24, 0.32, 0.40), severity)
    return (images + std * torch.randn(images.shape, generator=rng)).clamp(0, 1)


def blur(images: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """A Gaussian blur whose width, for images of 28 pixels, is 0.6 to 2.2 pixels; edges are continued."""
    sigma = _chosen((0.6, 1.0, 1.4, 1.8, 2.2), severity) * min(images.shape[2:]) / 28
    reach = max(1, math.ceil(3 * sigma))
    kernel = torch.exp(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=images.shape[1]).clamp(0, 1)


def contrast(images: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """Values move toward the mean of their image."""
    kept = _chosen((0.6, 0.45, 0.3, 0.2, 0.1), severity)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + kept * (images - mean)


def brightness(images: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """Every value grows by the same amount."""
    return (images + _chosen((0.1, 0.2, 0.3, 0.4, 0.5), severity)).clamp(0, 1)


def pixelate(images: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """The image in a coarser raster, at 0.5 to 0.2 of its resolution."""
    height, width = images.shape[2:]
    share = _chosen((0.5, 0.4, 0.3, 0.25, 0.2), severity)
    coarse = F.adaptive_avg_pool2d(images, (max(1, round(share * height)), max(1, round(share * width))))
    return F.interpolate(coarse, size=(height, width), mode="nearest-exact")


def stripes(images: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """Every fourth column is lighter; which ones differs from image to image."""
    amount = _chosen((0.15, 0.3, 0.45, 0.6, 0.75), severity)
    phase = torch.randint(4, (len(images), 1), generator=rng)
    lit = (torch.arange(images.shape[3]) + phase) % 4 == 0
    return (images + amount * lit[:, None, None, :]).clamp(0, 1)


SIMPLE_CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian-noise": gaussian_noise,
    "blur": blur,
    "contrast": contrast,
    "brightness": brightness,
    "pixelate": pixelate,
    "stripes": stripes,
}
"""Every corruption by name."""


def _chosen(amounts: tuple[float, ...], severity: int) -> float:
    if not 1 <= severity <= len(amounts):
        raise ValueError(f"severity is {severity}: it is 1 to {len(amounts)}")
    return amounts[severity - 1]
