"""Color of batches of images that are grey (C = 1) or red, green and blue (C = 3)."""

from __future__ import annotations

from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue look: ITU-R BT.601."""


def luma(images: Tensor) -> Tensor:
    """How bright (N, C, H, W) look: (N, 1, H, W), a copy."""
    if images.shape[1] == 1:
        return images.clone()
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])[:, None]


def tinted(layer: Tensor, color: tuple[float, float, float], channels: int) -> Tensor:
    """A grey layer (N, 1, H, W) in a color: (N, 3, H, W), or as bright in grey: (N, 1, H, W)."""
    if channels == 1:
        return layer * sum(share * part for share, part in zip(LUMA, color, strict=True))
    return layer * layer.new_tensor(color)[:, None, None]
