"""Images as a JPEG file keeps them, in batches and without the file.

Baseline JPEG, ITU-T T.81 (1992), with the choices of the library of the Independent JPEG Group that Pillow makes:
example tables of annex K scaled by the quality, colors at half the resolution and enlarged by triangles. The entropy
code loses nothing and is left out.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.perturbations.corruptions.colors import LUMA

_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOR_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Store and read again.

    Args:
        images: (N, C, H, W) in [0, 1]; C is 1 or 3.
        quality: 1 to 100.

    Returns:
        (N, C, H, W) in [0, 1], in 8 bits.
    """
    pixels = (images * 255).round_()
    if images.shape[1] == 1:
        return _stored(pixels, _table(_LUMA_TABLE, quality)).div_(255)
    H, W = images.shape[2:]
    y, colors = _to_luma_and_colors(F.pad(pixels, (0, -W % 16, 0, H % 2), mode="replicate"))
    y = _stored(y[:, :, :H, :W], _table(_LUMA_TABLE, quality))
    colors = _stored(_halved(colors), _table(_COLOR_TABLE, quality))[..., : (W + 1) // 2]
    colors = F.interpolate(colors, scale_factor=2.0, mode="bilinear").round_()
    return _from_luma_and_colors(y, colors[:, :, :H, :W]).div_(255)


def _stored(pixels: Tensor, table: Tensor) -> Tensor:
    """Levels (N, C, H, W) after the rounding of the cosine transforms of blocks of 8 × 8; edges are continued."""
    H, W = pixels.shape[2:]
    padded = F.pad(pixels, (0, -W % 8, 0, -H % 8), mode="replicate") - 128
    height, width = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(*padded.shape[:2], height, 8, width, 8).transpose(3, 4)
    transform, table = _cosines().to(pixels), table.to(pixels).flatten()
    coefficients = (blocks.flatten(4) @ transform.T).mul_(8).round_()  # the library's have three bits after the point
    steps = coefficients.abs().div_(8 * table).add_(0.5).floor_().copysign_(coefficients)
    levels = (steps.mul_(table) @ transform).view(blocks.shape).transpose(3, 4).reshape(padded.shape)
    out: Tensor = levels.add_(128)[:, :, :H, :W].round_().clamp_(0, 255)
    return out


def _halved(pixels: Tensor) -> Tensor:
    """Means of 2 × 2 levels, rounded up and down in turn where they lie in the middle, as the library does."""
    means = F.avg_pool2d(pixels, 2)
    turns = torch.arange(means.shape[3], device=pixels.device) % 2
    return means.add_((1 + turns) / 4).floor_()


def _to_luma_and_colors(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (N, 3, H, W) as Y (N, 1, H, W) and Cb, Cr (N, 2, H, W), rounded."""
    red, green, blue = torch.split(pixels, 1, dim=1)
    y = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]
    colors = torch.cat([(blue - y) / (2 - 2 * LUMA[2]), (red - y) / (2 - 2 * LUMA[0])], dim=1)
    return y.round_(), colors.add_(128).round_()


def _from_luma_and_colors(y: Tensor, colors: Tensor) -> Tensor:
    """Levels (N, 3, H, W), rounded and in [0, 255]."""
    blue, red = torch.split(colors - 128, 1, dim=1)
    of_blue, of_red = 2 - 2 * LUMA[2], 2 - 2 * LUMA[0]
    green = blue * (-of_blue * LUMA[2] / LUMA[1]) + red * (-of_red * LUMA[0] / LUMA[1])
    return torch.cat([y + of_red * red, y + green, y + of_blue * blue], dim=1).round_().clamp_(0, 255)


def _table(base: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """(8, 8) steps of the rounding."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(base) * percent + 50) // 100).clamp_(1, 255)


@functools.cache
def _cosines() -> Tensor:
    """(64, 64) orthogonal matrix of the cosine transform of a flattened block of 8 × 8."""
    k = torch.arange(8, dtype=torch.float64)
    line = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) / 2
    line[0] /= math.sqrt(2)
    return torch.kron(line, line).float()
