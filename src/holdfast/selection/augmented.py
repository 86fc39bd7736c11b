"""Batches of another source with augmentations applied to their images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.core.augmentation import Augmentation
from holdfast.core.data import Batch
from holdfast.core.errors import UserError
from holdfast.selection.samplers import Source


class Augmented:
    """A source whose batches are those of another, their images changed by each augmentation in turn.

    Args:
        source: The other.
        augmentations: What is done, in order.
        generator: The random stream; its place is part of the state.
    """

    def __init__(self, source: Source, augmentations: Sequence[Augmentation], generator: torch.Generator) -> None:
        self.source, self.augmentations, self.generator = source, tuple(augmentations), generator

    def next_batch(self) -> Batch:
        batch = self.source.next_batch()
        x = batch.x
        if not isinstance(x, Tensor):
            raise UserError(f"augmentations take one image per row, these have {', '.join(x)}: leave them out")
        for augmentation in self.augmentations:
            x = augmentation(x, self.generator)
        return dataclasses.replace(batch, x=x)

    def state_dict(self) -> dict[str, Any]:
        return {"source": self.source.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.source.load_state_dict(state["source"])
        self.generator.set_state(state["generator"])
