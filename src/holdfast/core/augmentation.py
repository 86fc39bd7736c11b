"""Augmentations: random changes of training images that leave their labels alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from holdfast.core.errors import UserError
from holdfast.core.registry import Plugin


class Augmentation(Plugin):
    """A random change of a batch of images; a frozen dataclass whose fields are its options."""

    family: ClassVar[str] = "augmentation"

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Changed copies of images, each on its own.

        Args:
            x: (B, C, H, W); left as it is.
            rng: On the CPU; the only source of randomness.
        """
        raise NotImplementedError

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Refuse inputs that are no images.

        Raises:
            UserError: They are not (C, H, W).
        """
        if len(input_shape) != 3:
            raise UserError(
                f"augmentation {self.name!r} takes images (channels, height, width), not {input_shape}: leave it out"
            )
