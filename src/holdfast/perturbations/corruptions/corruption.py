"""What a corruption is: a function of images and how strong it is at each severity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from holdfast.perturbations.corruptions.draws import Draws

Scale = Literal["cifar", "imagenet"]
"""Whose amounts: those of CIFAR-10-C for small images, or those of ImageNet-C for images of about 224 pixels."""


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Attributes:
        apply: ``(images, amount, draws) -> images``: both (N, C, H, W) float32; what comes out may lie outside [0, 1].
        amounts: For each scale the amounts of the severities 1 to 5.
    """

    apply: Callable[[Tensor, Any, Draws], Tensor]
    amounts: Mapping[Scale, tuple[Any, Any, Any, Any, Any]]
