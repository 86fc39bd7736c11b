"""Rows: columns with names, batches, data sets.

Shapes: N rows of a data set, B rows of a batch, E environments.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from holdfast.core.errors import UserError, unknown_name
from holdfast.core.lazy import LazyInputs

Inputs = Tensor | dict[str, Tensor]
"""What a model is called with."""

StoredInputs = Tensor | LazyInputs | dict[str, Tensor | LazyInputs]
"""What a data set holds: in memory, or made when asked for."""

V = TypeVar("V")


@dataclass(frozen=True)
class Column:
    """An integer column with names: an environment, a group, an attribute.

    Attributes:
        codes: (N,) int64 in [-1, len(names)); −1 is unknown.
        names: One name per code.
        provenance: How it came about: ``given``, or the name of what inferred it.
    """

    codes: Tensor
    names: tuple[str, ...]
    provenance: str = "given"

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor) -> Column:
        """The same column for some rows."""
        return dataclasses.replace(self, codes=self.codes[rows])

    def present(self) -> list[int]:
        """The codes that occur, ascending, without unknown."""
        return [code for code, count in enumerate(self._tally()) if count]

    def counts(self) -> list[int]:
        """How many rows each of :meth:`present` has."""
        return [count for count in self._tally() if count]

    def _tally(self) -> list[int]:
        counts: list[int] = torch.bincount(self.codes[self.codes >= 0], minlength=len(self.names)).tolist()
        return counts

    @staticmethod
    def constant(length: int, name: str = "all") -> Column:
        """One value everywhere: the column of data that has no environments."""
        return Column(torch.zeros(length, dtype=torch.int64), (name,))

    @staticmethod
    def product(columns: Mapping[str, Column]) -> Column:
        """All combinations that occur, in order of their codes; unknown where any part is unknown.

        >>> a = Column(torch.tensor([0, 1, 1]), ("x", "y"))
        >>> Column.product({"a": a, "b": a}).names
        ('a=x, b=x', 'a=y, b=y')
        """
        stacked = torch.stack([column.codes for column in columns.values()], dim=1)
        known = (stacked >= 0).all(dim=1)
        cells, inverse = torch.unique(stacked[known], dim=0, return_inverse=True)
        codes = torch.full((len(stacked),), -1, dtype=torch.int64)
        codes[known] = inverse
        parts = list(columns.items())
        names = tuple(
            ", ".join(f"{name}={column.names[code]}" for (name, column), code in zip(parts, cell, strict=True))
            for cell in cells.tolist()
        )
        return Column(codes, names)


@dataclass(frozen=True)
class Batch:
    """Some rows, as a step sees them.

    Attributes:
        x: (B, …) inputs, or a dict of them.
        y: (B,) int64 classes or (B,) float targets; None where labels are hidden.
        environment: (B,) int64, −1 unknown.
        attributes: Other integer columns by name, each (B,).
        weight: (B,) non-negative row weights, or None for all equal.
        index: (B,) int64, the rows' ids: stable over splits, subsets and resumes.
    """

    x: Inputs
    y: Tensor | None
    environment: Tensor
    attributes: Mapping[str, Tensor]
    weight: Tensor | None
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Tensor:
        """y, for code that cannot do without labels."""
        if self.y is None:
            raise UserError("these rows have no labels: use a method that works without, or buy them from the oracle")
        return self.y

    def mean(self, values: Tensor) -> Tensor:
        """The mean of (B,) values by the rows' weights."""
        return values.mean() if self.weight is None else (self.weight * values).sum() / self.weight.sum()


@dataclass(frozen=True)
class Dataset:
    """N rows with their columns. Batches are made by indexing; there is no loader.

    Attributes:
        x: (N, …) inputs in memory or made when asked for (:class:`~holdfast.core.lazy.LazyInputs`), or a dict of them.
        y: (N,) int64 classes or (N,) float targets, or None.
        environment: The environment column of the run.
        attributes: Other columns by name (group columns among them).
        unit: (N,) int64 codes of rows that belong together, −1 unknown; None when every row is its own unit.
        weight: (N,) non-negative float weights, or None.
        index: (N,) int64 row ids; 0 … N−1 where none are given.
    """

    x: StoredInputs
    y: Tensor | None
    environment: Column
    attributes: Mapping[str, Column] = field(default_factory=dict)
    unit: Tensor | None = None
    weight: Tensor | None = None
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        n = len(self.environment)
        if len(self.index) == 0:
            object.__setattr__(self, "index", torch.arange(n))
        for name, length in self._lengths():
            if length != n:
                raise ValueError(f"{name.strip()} has {length} rows where the environment column has {n}")

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Tensor:
        """y, for code that cannot do without labels."""
        if self.y is None:
            raise UserError("these rows have no labels")
        return self.y

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input row; of the only or first entry where x is a dict."""
        x = next(iter(self.x.values())) if isinstance(self.x, dict) else self.x
        return tuple(x.shape[1:])

    @property
    def units(self) -> Tensor:
        """(N,) unit codes; the row ids where no unit column was given."""
        return self.index if self.unit is None else self.unit

    def take(self, rows: Tensor) -> Dataset:
        """A data set of copies of these rows: nothing of the others stays reachable.

        Args:
            rows: (M,) int64 positions.
        """
        return Dataset(
            x=_map(lambda t: t.take(rows) if isinstance(t, LazyInputs) else t[rows], self.x),
            y=None if self.y is None else self.y[rows],
            environment=self.environment.take(rows),
            attributes={name: column.take(rows) for name, column in self.attributes.items()},
            unit=None if self.unit is None else self.unit[rows],
            weight=None if self.weight is None else self.weight[rows],
            index=self.index[rows],
        )

    def batch(self, rows: Tensor | slice = slice(None)) -> Batch:
        """The rows at these positions, all of them by default; inputs that are not in memory are made now."""
        return Batch(
            x=_map(lambda t: t[rows], self.x),
            y=None if self.y is None else self.y[rows],
            environment=self.environment.codes[rows],
            attributes={name: column.codes[rows] for name, column in self.attributes.items()},
            weight=None if self.weight is None else self.weight[rows],
            index=self.index[rows],
        )

    def column(self, name: str) -> Column:
        """A column by name; ``environment`` is the run's environment column, ``label`` the classes, ``row`` every row.

        Raises:
            UserError: There is none of that name, or labels are not classes.
        """
        if name == "environment":
            return self.environment
        if name in self.attributes:
            return self.attributes[name]
        if name == "row":
            return Column(torch.arange(len(self)), tuple(f"row {row}" for row in self.index.tolist()))
        if name == "label" and self.y is not None and not self.y.is_floating_point():
            return Column(self.y, tuple(map(str, range(int(self.y.max()) + 1 if len(self.y) else 0))))
        if name == "label":
            numbers = "the labels are numbers and" if self.y is not None else "labels are hidden here and"
            raise UserError(f"{numbers} make no groups: name a column with few values instead")
        raise unknown_name("column", name, ["environment", "label", "row", *self.attributes])

    def grouped_by(self, names: str) -> Dataset:
        """The same rows with the product of some columns as environment.

        Args:
            names: Column names joined by ``*``, such as ``label*color``.
        """
        parts = [name.strip() for name in names.split("*")]
        if len(parts) == 1:
            return dataclasses.replace(self, environment=self.column(parts[0]))
        return dataclasses.replace(self, environment=Column.product({name: self.column(name) for name in parts}))

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Dataset:
        """The same rows on a device, floating-point inputs and targets in this precision."""

        def target(t: Tensor | LazyInputs) -> torch.dtype:
            return dtype if t.is_floating_point() else t.dtype

        def move(t: Tensor) -> Tensor:
            return t.to(device, target(t))

        def column(c: Column) -> Column:
            return dataclasses.replace(c, codes=move(c.codes))

        return Dataset(
            x=_map(lambda t: t.to(device, target(t)), self.x),
            y=None if self.y is None else move(self.y),
            environment=column(self.environment),
            attributes={name: column(c) for name, c in self.attributes.items()},
            unit=None if self.unit is None else move(self.unit),
            weight=None if self.weight is None else move(self.weight),
            index=move(self.index),
        )

    def fingerprint(self) -> str:
        """A hash of the content of every column; of inputs that are not in memory, of what tells their content."""
        digest = hashlib.sha256()
        for name, values in self._values():
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
            digest.update(_content(values))
        columns = {"environment": self.environment, **self.attributes}
        digest.update(repr([(name, column.names) for name, column in columns.items()]).encode())
        return digest.hexdigest()

    def _values(self) -> list[tuple[str, Tensor | LazyInputs]]:
        x = self.x if isinstance(self.x, dict) else {"": self.x}
        values: list[tuple[str, Tensor | LazyInputs]] = [(f"x {name}", t) for name, t in x.items()]
        values += [("environment", self.environment.codes), ("index", self.index)]
        values += [(f"attribute {name}", column.codes) for name, column in self.attributes.items()]
        optional = [("y", self.y), ("unit", self.unit), ("weight", self.weight)]
        return values + [(name, t) for name, t in optional if t is not None]

    def _lengths(self) -> Sequence[tuple[str, int]]:
        return [(name, len(t)) for name, t in self._values()]


def join_inputs(parts: Sequence[StoredInputs]) -> StoredInputs:
    """Inputs of several data sets below each other."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: _join([part[name] for part in parts]) for name in first}  # type: ignore[index]
    return _join(parts)  # type: ignore[arg-type]


def _join(parts: Sequence[Tensor | LazyInputs]) -> Tensor | LazyInputs:
    lazy = [part for part in parts if isinstance(part, LazyInputs)]
    return LazyInputs.cat(lazy) if lazy else torch.cat(parts)  # type: ignore[arg-type]


def _content(values: Tensor | LazyInputs) -> bytes:
    if isinstance(values, LazyInputs):
        return values.fingerprint().encode()
    return values.detach().cpu().contiguous().numpy().tobytes()


def _map(function: Callable[[Tensor | LazyInputs], V], x: StoredInputs) -> V | dict[str, V]:
    return {name: function(t) for name, t in x.items()} if isinstance(x, dict) else function(x)
