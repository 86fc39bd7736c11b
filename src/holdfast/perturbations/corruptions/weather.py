"""Weather: snow, ice, fog, light, and what a lens is splashed with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.perturbations.corruptions.colors import luma, tinted
from holdfast.perturbations.corruptions.corruption import Corruption
from holdfast.perturbations.corruptions.draws import Draws
from holdfast.perturbations.corruptions.filters import blurred, smeared, zoomed

ICE = (0.82, 0.92, 1.0)
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)

Flakes = tuple[float, float, float, float, int, float, float]
Drops = tuple[float, float, float, float, float, bool]


def snow(images: Tensor, amount: Flakes, draws: Draws) -> Tensor:
    """Bright flakes that fall past a whitened picture.

    Args:
        images: (N, C, H, W).
        amount: Mean and deviation of the noise the flakes are made of, how far it is enlarged, above what it is a
            flake, radius and deviation of their motion in pixels, and the share of the picture that is not whitened.
        draws: Make the flakes and the direction of their fall.
    """
    mean, std, factor, least, radius, sigma, kept = amount
    flakes = zoomed(draws.normal(1, *images.shape[2:]).mul_(std).add_(mean), factor)
    flakes = flakes.masked_fill(flakes < least, 0.0).clamp_(0, 1)
    angles = -math.pi / 4 - math.pi / 2 * draws.uniform(1)[:, 0]
    flakes = smeared(flakes, angles, radius, sigma)
    white = torch.maximum(images, luma(images).mul_(1.5).add_(0.5))
    return white.mul_(1 - kept).add_(images, alpha=kept).add_(flakes).add_(flakes.flip(2, 3))


def frost_synth(images: Tensor, amount: tuple[float, float], draws: Draws) -> Tensor:
    """A darkened picture behind ice.

    In the original the ice is a photograph of a frosted window. This one is made: needles, which are the ridges of a
    rough height map, on a veil, which is a smooth one. Errors under it are not those under the original.

    Args:
        images: (N, C, H, W).
        amount: What the picture and the ice are multiplied by.
        draws: Make the ice.
    """
    kept, added = amount
    rough, smooth = plasma(draws, images.shape[2:], 1.6), plasma(draws, images.shape[2:], 3.0)
    needles = (1 - (2 * rough - 1).abs()) ** 3
    ice = (0.2 + 0.5 * smooth + 0.6 * needles).clamp_(0, 1)
    return tinted(ice, ICE, images.shape[1]).mul_(added).add_(images, alpha=kept)


def fog(images: Tensor, amount: tuple[float, float], draws: Draws) -> Tensor:
    """Clouds are added, and all is darkened so that the brightest value stays.

    Args:
        images: (N, C, H, W).
        amount: How bright the clouds are, and how fast they get smoother, see :func:`plasma`.
        draws: Make the clouds.
    """
    thickness, decay = amount
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    clouds = plasma(draws, images.shape[2:], decay).mul_(thickness)
    return (images + clouds).mul_(brightest / (brightest + thickness))


def brightness(images: Tensor, added: float, draws: Draws) -> Tensor:
    """The value, as of hue, saturation and value, grows; grey is a value."""
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + added).clamp_(max=1)
    black = value == 0
    return torch.where(black, brighter, images * (brighter / value.masked_fill(black, 1.0)))


def spatter(images: Tensor, amount: Drops, draws: Draws) -> Tensor:
    """Drops of water, pale and embossed, or of mud, brown and opaque.

    The rims of drops are where the liquid begins, and not those of an edge detector as in the original.

    Args:
        images: (N, C, H, W).
        amount: Mean and deviation of the noise that the liquid is made of, the deviation in pixels of the blur of it,
            above what there is liquid, the strength of water or the blur of mud, and whether it is mud.
        draws: Make the liquid.
    """
    mean, std, sigma, least, strength, mud = amount
    liquid = blurred(draws.normal(1, *images.shape[2:]).mul_(std).add_(mean), sigma)
    wet = liquid >= least
    if mud:
        cover = blurred(wet.to(images), strength)
        cover = cover.masked_fill(cover < 0.8, 0.0)
        return images * (1 - cover) + tinted(cover, MUD, images.shape[1])
    shine = _embossed(wet.to(images)) * liquid.masked_fill(~wet, 0.0)
    shine = shine / shine.amax(dim=(2, 3), keepdim=True).clamp_min(1e-6)
    return images + tinted(shine * strength, WATER, images.shape[1])


def plasma(draws: Draws, size: tuple[int, ...], decay: float) -> Tensor:
    """Height maps by diamond and square: each new point is the mean of four, and a random number that shrinks.

    Fournier, Fussell, Carpenter, *Computer rendering of stochastic models*, Communications of the ACM 1982. Opposite
    edges of the map, whose side is a power of two, are neighbours.

    Args:
        draws: Make the random numbers.
        size: Height and width of what is cut out of the map.
        decay: The deviation of the random numbers shrinks by its square where the distance of the points halves.

    Returns:
        (N, 1, height, width), on the whole map from 0 to 1.
    """
    side = 1 << (max(size) - 1).bit_length()
    heights = draws.uniform(side, side).mul_(2).sub_(1)  # first the random number of each point
    heights[:, 0, 0] = 0
    step, wide = side, 1.0
    while step > 1:
        half = step // 2
        corners, middles = heights[:, ::step, ::step], heights[:, half::step, half::step]
        right, below = heights[:, ::step, half::step], heights[:, half::step, ::step]
        across = corners + corners.roll(-1, 2)
        middles.mul_(wide).add_(across + across.roll(-1, 1), alpha=0.25)
        right.mul_(wide).add_(middles + middles.roll(1, 1) + across, alpha=0.25)
        below.mul_(wide).add_(middles + middles.roll(1, 2) + corners + corners.roll(-1, 1), alpha=0.25)
        step, wide = half, wide / decay**2
    low, high = (limit(dim=(1, 2), keepdim=True) for limit in (heights.amin, heights.amax))
    return ((heights - low) / (high - low))[:, None, : size[0], : size[1]]


def _embossed(wet: Tensor) -> Tensor:
    """How light falls on drops from the upper left: large where their rim is near in that direction."""
    depth = torch.zeros_like(wet)
    inside = F.pad(wet, (1, 1, 1, 1), value=1.0)
    for _ in range(3):
        inside = -F.max_pool2d(-inside, 3, 1, 1)
        depth = depth + inside[:, :, 1:-1, 1:-1]
    kernel = wet.new_tensor([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])[None, None]
    lit = F.conv2d(F.pad(depth, (1, 1, 1, 1), mode="replicate"), kernel).clamp_(min=0)
    return F.avg_pool2d(F.pad(lit, (1, 1, 1, 1), mode="replicate"), 3, 1)


WEATHER: Mapping[str, Corruption] = {
    "snow": Corruption(
        snow,
        {
            "cifar": (
                (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
                (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
            ),
            "imagenet": (
                (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
                (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
                (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
            ),
        },
    ),
    "frost-synth": Corruption(
        frost_synth,
        {
            "cifar": ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
            "imagenet": ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        },
    ),
    "fog": Corruption(
        fog,
        {
            "cifar": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
            "imagenet": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        },
    ),
    "brightness": Corruption(brightness, {"cifar": (0.05, 0.1, 0.15, 0.2, 0.3), "imagenet": (0.1, 0.2, 0.3, 0.4, 0.5)}),
    "spatter": Corruption(
        spatter,
        {
            "cifar": (
                (0.62, 0.1, 0.7, 0.7, 0.5, False),
                (0.65, 0.1, 0.8, 0.7, 0.5, False),
                (0.65, 0.3, 1.0, 0.69, 0.5, False),
                (0.65, 0.1, 0.7, 0.69, 0.6, True),
                (0.65, 0.1, 0.5, 0.68, 0.6, True),
            ),
            "imagenet": (
                (0.65, 0.3, 4.0, 0.69, 0.6, False),
                (0.65, 0.3, 3.0, 0.68, 0.6, False),
                (0.65, 0.3, 2.0, 0.68, 0.5, False),
                (0.65, 0.3, 1.0, 0.65, 1.5, True),
                (0.67, 0.4, 1.0, 0.65, 1.5, True),
            ),
        },
    ),
}
"""Weather by name."""
