"""Budgets: how long to train."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from holdfast.core.data import Batch


@dataclass(frozen=True)
class Budget:
    """An amount of training, in one unit.

    Attributes:
        amount: At least 1.
        unit: ``steps`` are updates, ``examples`` rows, ``tokens`` unmasked tokens.
    """

    amount: int
    unit: Literal["steps", "examples", "tokens"] = "steps"

    def part(self, share: float) -> Budget:
        """A share in (0, 1] of it, one unit at least.

        >>> Budget(400).part(0.1).amount
        40
        """
        return dataclasses.replace(self, amount=max(1, round(share * self.amount)))

    def cost(self, batch: Batch) -> int:
        """What an update with this batch spends."""
        if self.unit == "steps":
            return 1
        return len(batch) if self.unit == "examples" else _tokens(batch)


def _tokens(batch: Batch) -> int:
    """Unmasked tokens of a batch: the sum of ``attention_mask``, or all of (B, T) token ids."""
    if isinstance(batch.x, Tensor):
        return batch.x.numel()
    mask = batch.x.get("attention_mask")
    return int(mask.sum()) if mask is not None else next(iter(batch.x.values())).numel()
