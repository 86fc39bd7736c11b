"""The corruptions by name, applied to batches of images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from holdfast.core.errors import UserError, unknown_name
from holdfast.perturbations.corruptions.blur import BLURS
from holdfast.perturbations.corruptions.corruption import Corruption, Scale
from holdfast.perturbations.corruptions.digital import DIGITAL
from holdfast.perturbations.corruptions.draws import Draws
from holdfast.perturbations.corruptions.noise import NOISES
from holdfast.perturbations.corruptions.weather import WEATHER

CORRUPTIONS: Mapping[str, Corruption] = {**NOISES, **BLURS, **WEATHER, **DIGITAL}
"""Every corruption by name: the 15 of the benchmark and 4 more."""

EXTRA = ("speckle-noise", "gaussian-blur", "spatter", "saturate")
"""Those that the benchmark leaves for choosing settings; they are in no mean over corruptions."""

COMMON = tuple(name for name in CORRUPTIONS if name not in EXTRA)
"""The 15 of the benchmark."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "noise": tuple(NOISES),
    "blur": tuple(BLURS),
    "weather": tuple(WEATHER),
    "digital": tuple(DIGITAL),
}
"""Names by kind."""

SEVERITIES = (1, 2, 3, 4, 5)

SMALLEST = 8
_VALUES_AT_ONCE = 1 << 18


def corrupt(images: Tensor, name: str, severity: int, *, scale: Scale, rng: torch.Generator) -> Tensor:
    """Corrupt images as in ImageNet-C and CIFAR-10-C.

    Hendrycks, Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR 2019,
    arXiv:1903.12261, with the amounts of the published scripts. Lengths in pixels stay what they are whatever the size
    of the images. What differs: ``frost-synth`` stands for frost, whose ice is a photograph; the rims of drops in
    ``spatter`` are found more simply; values are rounded to 8 bits and not cut off.

    Args:
        images: (N, C, H, W) in [0, 1]: grey or color, 8 × 8 pixels at least; left as they are.
        name: One of ``CORRUPTIONS``.
        severity: 1 to 5.
        scale: Whose amounts: ``cifar`` for small images, ``imagenet`` for those of about 224 pixels.
        rng: On the CPU; seeds the randomness of each image.

    Returns:
        (N, C, H, W) in [0, 1], of the type of the images, in 8 bits.

    Raises:
        UserError: An unknown corruption, a severity or images that cannot be had.

    >>> grey = torch.full((1, 1, 8, 8), 0.4)
    >>> corrupt(grey, "brightness", 2, scale="cifar", rng=torch.Generator())[0, 0, 0, 0]
    tensor(0.5020)
    >>> corrupt(grey, "fogg", 2, scale="cifar", rng=torch.Generator())
    Traceback (most recent call last):
        ...
    holdfast.core.errors.UserError: unknown corruption 'fogg': did you mean 'fog'?
    """
    seeds = torch.randint(2**63 - 1, (len(images),), generator=rng)
    return corrupt_each(images, name, severity, scale=scale, seeds=seeds)


def corrupt_each(images: Tensor, name: str, severity: int, *, scale: Scale, seeds: Tensor) -> Tensor:
    """As :func:`corrupt`, with a seed for each image: what it becomes does not depend on the others.

    Args:
        images: (N, C, H, W) in [0, 1].
        name: One of ``CORRUPTIONS``.
        severity: 1 to 5.
        scale: Whose amounts.
        seeds: (N,) int64.

    Raises:
        UserError: An unknown corruption, a severity or images that cannot be had.

    >>> images, seeds = torch.rand(3, 3, 8, 8), torch.tensor([5, 6, 7])
    >>> together = corrupt_each(images, "snow", 3, scale="cifar", seeds=seeds)
    >>> bool(together[1:2].equal(corrupt_each(images[1:2], "snow", 3, scale="cifar", seeds=seeds[1:2])))
    True
    """
    corruption, amount = _chosen(name, severity, scale)
    _check(images)
    out = torch.empty_like(images)
    if not len(images):
        return out
    at_once = max(1, _VALUES_AT_ONCE // math.prod(images.shape[1:]))
    for part, part_seeds, into in zip(*(torch.split(rows, at_once) for rows in (images, seeds, out)), strict=True):
        draws = Draws.of(part_seeds, images.device)
        into.copy_(in_8_bits(corruption.apply(part.float(), amount, draws)))
    return out


def in_8_bits(values: Tensor) -> Tensor:
    """The nearest of 256 levels in [0, 1], a copy.

    >>> in_8_bits(torch.tensor([-0.1, 0.5, 2.0]))
    tensor([0.0000, 0.5020, 1.0000])
    """
    return (values * 255).round_().clamp_(0, 255).div_(255)


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names of corruptions that do not exist.

    Raises:
        UserError: There is one; the message names near ones.
    """
    for name in names:
        if name not in CORRUPTIONS:
            raise unknown_name("corruption", name, CORRUPTIONS)


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse the shape of an input that is no image, grey or color, of 8 × 8 pixels at least.

    Raises:
        UserError: It is not.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UserError(f"corruptions take images (1 or 3 channels, height, width), not {tuple(shape)}: choose others")
    if min(shape[1:]) < SMALLEST:
        raise UserError(
            f"corruptions take images of {SMALLEST} × {SMALLEST} pixels at least, not {shape[1]} × {shape[2]}: "
            "enlarge them"
        )


def _chosen(name: str, severity: int, scale: Scale) -> tuple[Corruption, object]:
    check_names((name,))
    if severity not in SEVERITIES:
        raise UserError(f"severity is {severity}: it is a whole number from 1 to {len(SEVERITIES)}")
    corruption = CORRUPTIONS[name]
    if scale not in corruption.amounts:
        raise unknown_name("scale of corruptions", scale, corruption.amounts)
    return corruption, corruption.amounts[scale][severity - 1]


def _check(images: Tensor) -> None:
    check_shape(tuple(images.shape[1:]))
    if not images.is_floating_point():
        raise UserError(f"corruptions take numbers in [0, 1], not {images.dtype}: divide 8-bit images by 255")
    low, high = (float(limit) for limit in images.aminmax()) if images.numel() else (0.0, 1.0)
    if not (low >= 0 and high <= 1):  # so that numbers that are none are refused
        raise UserError("corruptions take images with values in [0, 1], and some are not: corrupt before normalising")
