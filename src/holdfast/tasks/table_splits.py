"""Which rows of a table are for what: by environments held out, or by a column of the table.

Rows and units keep apart: no unit has rows in two parts of different roles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.data import Column
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.task import Role
from holdfast.core.words import count
from holdfast.tasks.stratify import stratified_parts

_SHARES: dict[str, tuple[Role, float]] = {
    "train": ("train", 0.60),
    "selection": ("selection", 0.15),
    "holdout": ("holdout", 0.10),
    "test-same": ("test", 0.15),
}
_ROLES: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training"),
    "selection": ("selection", "validation", "valid", "val", "dev"),
    "holdout": ("holdout", "hold-out", "heldout", "held-out"),
    "calibration": ("calibration", "calib", "cal"),
    "unlabelled": ("unlabelled", "unlabeled"),
    "pool": ("pool",),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Part:
    """Rows of a table with one role.

    Attributes:
        name: Name of the split.
        role: What the rows are for.
        rows: (M,) positions.
        shifted: Whether they come from environments without training rows.
    """

    name: str
    role: Role
    rows: Tensor
    shifted: bool = False


@dataclass(frozen=True)
class Parts:
    """All parts, none of them empty, and one-line remarks for the report."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    @property
    def train(self) -> Tensor:
        """(M,) positions of the rows to train on, which come first."""
        return self.parts[0].rows


def parts_by_environment(held_out: Tensor, strata: Tensor, unit: Tensor | None, rng: torch.Generator) -> Parts:
    """Test on rows of held-out environments; deal the others at random.

    Of the units in other environments 60 % are for training, 15 % for selection, 10 % are the holdout and 15 % are
    ``test-same``, evenly over the strata. A unit that has rows on both sides is in ``test`` with those of the
    held-out environments and nowhere else.

    Args:
        held_out: (N,) bool, rows of held-out environments.
        strata: (N,) int64 codes; a unit counts with the stratum of its first row.
        unit: (N,) int64 unit codes, or None when every row is its own.
        rng: Decides what is dealt where.

    Raises:
        UserError: No row is left to train on.
    """
    rest = (~held_out).nonzero()[:, 0]
    notes = []
    if unit is not None:
        straddles = torch.isin(unit[rest], unit[held_out])
        rest, dropped = rest[~straddles], int(straddles.sum())
        if dropped:
            notes.append(f"left out, of units that also have rows in held-out environments: {count(dropped, 'row')}")
    if not len(rest):
        why = "" if unit is None else ", as units in held-out environments are not trained on"
        raise UserError(f"no row is left to train on{why}: hold out fewer environments")
    dealt = _deal(strata[rest], None if unit is None else unit[rest], rng)
    parts = [Part(name, role, rest[dealt == code]) for code, (name, (role, _)) in enumerate(_SHARES.items())]
    empty = [part.name for part in parts if not len(part.rows)]
    if empty:
        notes.append(f"too few rows or units for {', '.join(empty)}: there is none")
    parts.append(Part("test", "test", held_out.nonzero()[:, 0], shifted=True))
    return Parts(tuple(part for part in parts if len(part.rows)), tuple(notes))


def parts_by_column(split: Column, environment: Tensor, unit: Column | None) -> Parts:
    """The parts that a column of the table names, such as ``train``, ``val`` and ``test``.

    Test rows of environments that training rows come from are not shifted; where there are such and others, the
    former are ``test-same``.

    Args:
        split: (N,) without unknown values.
        environment: (N,) int64 codes.
        unit: (N,) the units, or None when every row is its own.

    Raises:
        UserError: A value names no role, a role that must be there is not, or a unit has two roles.
    """
    roles = [_role(name) for name in split.names]
    order = list(_ROLES)
    role = torch.tensor([order.index(name) for name in roles])[split.codes]
    if unit is not None:
        _check_units(unit, role, order)
    rows = {name: (role == code).nonzero()[:, 0] for code, name in enumerate(order)}
    for name in ("train", "test"):
        if not len(rows[name]):
            raise UserError(f"no row has the split {name!r}: mark some rows as {name}")
    familiar = torch.isin(environment[rows["test"]], environment[rows["train"]])
    parts = [Part(name, name, rows[name]) for name in order if name != "test" and len(rows[name])]
    if familiar.all():
        parts.append(Part("test", "test", rows["test"]))
        return Parts(tuple(parts), ("the test rows come from environments of the training: they count as not shifted",))
    if familiar.any():
        parts.append(Part("test-same", "test", rows["test"][familiar]))
    return Parts((*parts, Part("test", "test", rows["test"][~familiar], shifted=True)))


def balanced_folds(sizes: Tensor, folds: int) -> list[list[int]]:
    """Distribute environments over folds of nearly equal numbers of rows: the largest first, to the smallest fold.

    Args:
        sizes: (E,) rows of each environment.
        folds: How many folds, at most E.

    >>> balanced_folds(torch.tensor([5, 3, 4, 1]), 2)
    [[0, 3], [1, 2]]
    """
    members: list[list[int]] = [[] for _ in range(folds)]
    totals = [0] * folds
    for environment in torch.argsort(sizes, descending=True, stable=True).tolist():
        fold = totals.index(min(totals))
        members[fold].append(environment)
        totals[fold] += int(sizes[environment])
    return [sorted(fold) for fold in members]


def _deal(strata: Tensor, unit: Tensor | None, rng: torch.Generator) -> Tensor:
    """(M,) part of every row; rows of a unit get one part."""
    shares = [share for _, share in _SHARES.values()]
    units, of_row = torch.unique(torch.arange(len(strata)) if unit is None else unit, return_inverse=True)
    first = torch.full((len(units),), len(strata)).scatter_reduce(0, of_row, torch.arange(len(strata)), "amin")
    part = stratified_parts(strata[first], shares, rng)
    return part[of_row] if (part == 0).any() else torch.zeros_like(of_row)  # the training has the first claim


def _role(name: str) -> Role:
    plain = name.strip().lower().replace("_", "-")
    for role, words in _ROLES.items():
        if plain in words:
            return role
    raise unknown_name("value of the split column", name, [word for words in _ROLES.values() for word in words])


def _check_units(unit: Column, role: Tensor, order: list[Role]) -> None:
    lowest, highest = (
        torch.full((len(unit.names),), start).scatter_reduce(0, unit.codes, role, how)
        for start, how in ((len(order), "amin"), (-1, "amax"))
    )
    several = ((highest > lowest) & (highest >= 0)).nonzero()[:, 0]
    if len(several):
        first = int(several[0])
        raise UserError(
            f"unit {unit.names[first]!r} has rows in the splits {order[int(lowest[first])]} and "
            f"{order[int(highest[first])]}: a unit must lie in one split"
        )
