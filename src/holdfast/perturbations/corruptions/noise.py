"""Noise: every value of an image is changed by chance."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from holdfast.perturbations.corruptions.corruption import Corruption
from holdfast.perturbations.corruptions.draws import Draws


def gaussian_noise(images: Tensor, std: float, draws: Draws) -> Tensor:
    """Normal noise, as of a sensor in the dark."""
    return draws.normal(*images.shape[1:]).mul_(std).add_(images)


def shot_noise(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Poisson noise: a value is the count of particles of light, of which white has so many on average.

    The average is that of the nearest of 256 levels.
    """
    table = _poisson(photons).to(images.device)
    place = draws.uniform(*images.shape[1:]).mul_(table.shape[1])
    own = place.floor()
    cell = (images * 255).round_().mul_(table.shape[1]).add_(own).long()
    entry = table.flatten().index_select(0, cell.flatten()).view_as(place)
    other = entry.floor()
    return torch.where(place.sub_(own) < entry.sub_(other), own, other).div_(photons)


def impulse_noise(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Salt and pepper: this share of the values is black or white, as of broken pixels and lost bits.

    The share is rounded to multiples of 2⁻¹⁵, so that 16 random bits decide over a value.
    """
    kept = 2.0**15 - round(share * 2**15)
    chance = draws.bits(*images.shape[1:]).float().add_(0.5)  # of ± 2¹⁵; what lies further out than this is changed
    return torch.add(images, torch.hardshrink(chance, kept), alpha=2 / kept)


def speckle_noise(images: Tensor, std: float, draws: Draws) -> Tensor:
    """Normal noise in proportion to the value."""
    return draws.normal(*images.shape[1:]).mul_(std).add_(1).mul_(images)


@functools.cache
def _poisson(rate: float) -> Tensor:
    """Tables from which Poisson counts are drawn with one look-up, for the means level / 255 · rate.

    The alias method: Walker, *An efficient method for generating discrete random variables with general
    distributions*, ACM TOMS 1977. Of S counts one, k, is drawn evenly; with a probability p it is kept, else replaced
    by its alias a. The construction by cumulative sums is that of Hübschle-Schneider, Sanders, *Parallel weighted
    random sampling*, ESA 2019, arXiv:1903.00227.

    Returns:
        (256, S) entries a + p, a whole and p < 1 in multiples of 2⁻¹⁴; S is a power of two, and counts from S on have
        a probability below 10⁻²⁰.
    """
    size = 1 << int(rate + 12 * rate**0.5 + 20).bit_length()
    counts = torch.arange(size, dtype=torch.float64)
    mean = torch.arange(256, dtype=torch.float64)[:, None] / 255 * rate
    share = (torch.xlogy(counts, mean) - mean - torch.lgamma(counts + 1)).exp() * size
    lacking, left = (1 - share).clamp_min(0).cumsum(1), (share - 1).clamp_min(0).cumsum(1)
    before = lacking - (1 - share).clamp_min(0)
    short = share < 1
    alias = torch.searchsorted(left, torch.where(short, before, left), right=True)
    emptied = torch.searchsorted(lacking, left, right=True)
    kept_by_long = 1 - (lacking.gather(1, emptied.clamp_max(size - 1)) - left)
    kept = torch.where(short, share, torch.where(emptied < size, kept_by_long, 1.0))
    ends = (alias >= size) | (kept >= 1)
    alias = torch.where(ends, counts.long(), alias)
    step = 2.0**-14
    return (alias + (kept.clamp(0, 1 - step) / step).round() * step).float()


NOISES: Mapping[str, Corruption] = {
    "gaussian-noise": Corruption(
        gaussian_noise, {"cifar": (0.04, 0.06, 0.08, 0.09, 0.10), "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38)}
    ),
    "shot-noise": Corruption(
        shot_noise, {"cifar": (500.0, 250.0, 100.0, 75.0, 50.0), "imagenet": (60.0, 25.0, 12.0, 5.0, 3.0)}
    ),
    "impulse-noise": Corruption(
        impulse_noise, {"cifar": (0.01, 0.02, 0.03, 0.05, 0.07), "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27)}
    ),
    "speckle-noise": Corruption(
        speckle_noise, {"cifar": (0.06, 0.1, 0.12, 0.16, 0.2), "imagenet": (0.15, 0.2, 0.35, 0.45, 0.6)}
    ),
}
"""The noises by name."""
