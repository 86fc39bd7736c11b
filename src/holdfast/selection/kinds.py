"""Batches of another source whose rows are each changed in one of several ways, or left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.core.data import Batch, Dataset
from holdfast.core.errors import UserError
from holdfast.selection.samplers import Source

KIND = "kind"
"""The attribute of a batch that says which change each row has undergone; 0 is none."""

Change = Callable[[Batch, torch.Generator], Tensor]
"""Other inputs (B, …) for a batch."""


class OneOfKinds:
    """A source whose rows are those of another, each under one of K changes or under none, all equally likely.

    Args:
        source: The other.
        changes: K of them. A row under change k has ``batch.attributes["kind"]`` k, counted from 1.
        generator: The random stream; its place is part of the state.
    """

    def __init__(self, source: Source, changes: Sequence[Change], generator: torch.Generator) -> None:
        self.source, self.changes, self.generator = source, tuple(changes), generator

    def next_batch(self) -> Batch:
        batch = self.source.next_batch()
        kind = torch.randint(1 + len(self.changes), (len(batch),), generator=self.generator).to(batch.index.device)
        x = batch.x
        for number, change in enumerate(self.changes, start=1):
            if not isinstance(x, Tensor):
                raise UserError(f"kinds of rows need one input per row, these have {', '.join(x)}: leave them out")
            changed = change(batch, self.generator)
            x = torch.where((kind == number).view(-1, *[1] * (x.ndim - 1)), changed, x)
        return dataclasses.replace(batch, x=x, attributes={**batch.attributes, KIND: kind})

    def state_dict(self) -> dict[str, Any]:
        return {"source": self.source.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.source.load_state_dict(state["source"])
        self.generator.set_state(state["generator"])


class Counterparts:
    """The change that takes each row's inputs from another data set, which holds the same rows in another way.

    Args:
        other: With a row of each row id that will be asked for.
    """

    def __init__(self, other: Dataset) -> None:
        self.other = other
        self._ids, self._order = other.index.sort()

    def __call__(self, batch: Batch, generator: torch.Generator) -> Tensor:
        x = self.other.batch(self._order[torch.searchsorted(self._ids, batch.index)]).x
        if not isinstance(x, Tensor):
            raise UserError(f"kinds of rows need one input per row, these have {', '.join(x)}: leave them out")
        return x
