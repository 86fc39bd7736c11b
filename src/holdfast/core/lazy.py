"""Inputs that are made when they are asked for: images on disk, rows of a file too large for memory.

Shapes: N rows in all, M of them asked for.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class RowReader(Protocol):
    """Makes rows of one shape and type when asked; equal positions give equal rows as long as it lives."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the rows it makes."""

    def __len__(self) -> int:
        """N."""

    def read(self, rows: Tensor) -> Tensor:
        """The rows at positions (M,) in [0, N), in this order and as often as named: (M, …) on the CPU.

        Raises:
            UserError: A row cannot be had any more.
        """

    def take(self, rows: Tensor) -> RowReader:
        """A reader of the rows at positions (M,) in [0, N) alone: nothing of the others stays reachable."""

    def keys(self) -> Iterable[str]:
        """For each row what changes whenever its content does, such as a file's name, size and time of change."""


@dataclass(frozen=True)
class LazyInputs:
    """N rows that are made when they are asked for; indexed as a tensor of shape (N, …) is.

    Attributes:
        reader: Makes them.
        dtype: What they are turned into; by default as the reader makes them.
        device: Where they are put.
    """

    reader: RowReader
    dtype: torch.dtype
    device: torch.device | str = "cpu"

    @staticmethod
    def of(reader: RowReader) -> LazyInputs:
        """The rows of a reader as it makes them."""
        return LazyInputs(reader, reader.dtype)

    @staticmethod
    def cat(inputs: Sequence[LazyInputs]) -> LazyInputs:
        """Several inputs below each other.

        Raises:
            ValueError: They differ in shape, type or device.
        """
        kinds = {(x.shape[1:], x.dtype, str(x.device)) for x in inputs}
        if len(kinds) > 1:
            raise ValueError(f"inputs of different shapes, types or devices cannot stand below each other: {kinds}")
        readers = tuple(x.reader for x in inputs)
        order = torch.arange(sum(map(len, readers)))
        return dataclasses.replace(inputs[0], reader=_Joined(readers, order))

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …), as of a tensor."""
        return (len(self), *self.reader.row_shape)

    def __len__(self) -> int:
        """N."""
        return len(self.reader)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The rows at positions (M,), made now: (M, …)."""
        return self.reader.read(self._positions(rows)).to(self.device, self.dtype)

    def take(self, rows: Tensor) -> LazyInputs:
        """The rows at positions (M,), still to be made; nothing of the others stays reachable."""
        return dataclasses.replace(self, reader=self.reader.take(self._positions(rows)))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> LazyInputs:
        """The same rows, put on this device in this type when they are made."""
        return dataclasses.replace(self, device=device, dtype=dtype)

    def is_floating_point(self) -> bool:
        """As of a tensor."""
        return self.dtype.is_floating_point

    def fingerprint(self) -> str:
        """A hash of what decides the rows, from their keys: none is made for it."""
        digest = hashlib.sha256()
        for key in self.reader.keys():  # noqa: SIM118  # no mapping
            digest.update(key.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()

    def _positions(self, rows: Tensor | slice) -> Tensor:
        """Positions in [0, N) on the CPU; negative ones count from the end, as everywhere."""
        return torch.arange(len(self))[rows.cpu() if isinstance(rows, Tensor) else rows]


@dataclass(frozen=True)
class _Joined:
    """Several readers as one.

    Attributes:
        parts: The readers.
        order: (N,) positions in their rows below each other.
    """

    parts: tuple[RowReader, ...]
    order: Tensor

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.parts[0].row_shape

    @property
    def dtype(self) -> torch.dtype:
        return self.parts[0].dtype

    def __len__(self) -> int:
        return len(self.order)

    def read(self, rows: Tensor) -> Tensor:
        out = torch.empty(len(rows), *self.row_shape, dtype=self.dtype)
        for part, within, places in self._by_part(rows):
            out[places] = part.read(within)
        return out

    def take(self, rows: Tensor) -> _Joined:
        found = list(self._by_part(rows))
        places = torch.cat([rows[:0], *(places for _, _, places in found)])
        return _Joined(tuple(part.take(within) for part, within, _ in found) or self.parts[:1], places.argsort())

    def keys(self) -> Iterator[str]:
        keys = [key for part in self.parts for key in part.keys()]  # noqa: SIM118
        return (keys[place] for place in self.order.tolist())

    def _by_part(self, rows: Tensor) -> Iterator[tuple[RowReader, Tensor, Tensor]]:
        """Each reader that is asked, the positions in it, and their places among the rows."""
        positions, start = self.order[rows], 0
        for part in self.parts:
            places = ((positions >= start) & (positions < start + len(part))).nonzero()[:, 0]
            if len(places):
                yield part, positions[places] - start, places
            start += len(part)
