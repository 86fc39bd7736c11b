"""Corrupted images that are made when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from holdfast.core.data import StoredInputs
from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.seeds import seed_for
from holdfast.perturbations.corruptions.corruption import Scale
from holdfast.perturbations.corruptions.suite import check_names, check_shape, corrupt_each


@dataclass(frozen=True, eq=False)
class CorruptedReader:
    """N images under one corruption; a :class:`~holdfast.core.lazy.RowReader`.

    Attributes:
        images: (N, C, H, W) in [0, 1], in memory or made when asked for.
        corruption: Its name.
        severity: 1 to 5.
        scale: Whose amounts.
        seeds: (N,) int64, one for each image.
    """

    images: Tensor | LazyInputs
    corruption: str
    severity: int
    scale: Scale
    seeds: Tensor

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """That of the images."""
        return self.images.dtype

    def __len__(self) -> int:
        return len(self.seeds)

    def read(self, rows: Tensor) -> Tensor:
        images = self.images[rows].cpu()
        return corrupt_each(images, self.corruption, self.severity, scale=self.scale, seeds=self.seeds[rows])

    def take(self, rows: Tensor) -> CorruptedReader:
        images = self.images.take(rows) if isinstance(self.images, LazyInputs) else self.images[rows]
        return replace(self, images=images, seeds=self.seeds[rows])

    def keys(self) -> Iterator[str]:
        own = f"{self.corruption} {self.severity} {self.scale}"
        return (f"{key} {own} {seed}" for key, seed in zip(self._keys(), self.seeds.tolist(), strict=True))

    def _keys(self) -> Iterator[str]:
        if isinstance(self.images, LazyInputs):
            yield from self.images.reader.keys()  # no mapping
        else:
            yield from (hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest() for image in self.images)


def corrupted_inputs(
    inputs: StoredInputs, corruption: str, severity: int, *, scale: Scale, index: Tensor, data_seed: int
) -> LazyInputs:
    """Inputs of a data set under a corruption, whose randomness follows from the row ids.

    Args:
        inputs: (N, C, H, W) in [0, 1].
        corruption: Its name.
        severity: 1 to 5.
        scale: Whose amounts.
        index: (N,) row ids.
        data_seed: Fixes the randomness.

    Raises:
        UserError: An unknown corruption, or inputs that are no images, grey or color, of 8 × 8 pixels at least.
    """
    check_names((corruption,))
    if isinstance(inputs, dict):
        raise UserError(f"corruptions take images, not the inputs {', '.join(inputs)}: choose another task")
    check_shape(tuple(inputs.shape[1:]))
    seeds = torch.tensor([seed_for(data_seed, "corruption", corruption, severity, row) for row in index.tolist()])
    return LazyInputs.of(CorruptedReader(inputs, corruption, severity, scale, seeds.long()))
