"""Plain numbers that describe a picture, for naming what a set of pictures has in common."""

from __future__ import annotations

from torch import Tensor

_CHANNELS = ("red", "green", "blue")
_TINY = 1e-6


def image_summaries(images: Tensor) -> dict[str, Tensor]:
    """Brightness, contrast, sharpness, brightness of the halves and of the border, and shares of color.

    Args:
        images: (N, C, H, W) in [0, 1].

    Returns:
        (N,) numbers by name. A half's brightness and the border's are relative to the picture's own.

    >>> import torch
    >>> summaries = image_summaries(torch.ones(1, 3, 8, 8))
    >>> summaries["brightness"].item(), summaries["contrast"].item(), round(summaries["share of red"].item(), 3)
    (1.0, 0.0, 0.333)
    """
    grey = images.mean(dim=1)
    height, width = grey.shape[1:]
    brightness = grey.mean(dim=(1, 2))
    edges = [step.abs().mean(dim=(1, 2)) for step in (grey.diff(dim=1), grey.diff(dim=2)) if step.numel()]
    summaries = {
        "brightness": brightness,
        "contrast": grey.std(dim=(1, 2), correction=0),
        "sharpness": sum(edges, brightness * 0) / max(len(edges), 1),
        "brightness of the top half": grey[:, : (height + 1) // 2].mean(dim=(1, 2)) - brightness,
        "brightness of the left half": grey[:, :, : (width + 1) // 2].mean(dim=(1, 2)) - brightness,
        "brightness of the border": _border(grey) - brightness,
    }
    if images.shape[1] == len(_CHANNELS):
        means = images.mean(dim=(2, 3))
        shares = means / means.sum(dim=1, keepdim=True).clamp_min(_TINY)
        summaries |= {f"share of {name}": shares[:, k] for k, name in enumerate(_CHANNELS)}
    return summaries


def _border(grey: Tensor) -> Tensor:
    """(N,) mean of the outermost pixels."""
    sides = [grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]]
    means: Tensor = sum(side.mean(dim=1) for side in sides) / len(sides)  # type: ignore[assignment]
    return means
