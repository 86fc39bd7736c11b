"""Values of shortcuts: those that go with the class, and those that are independent of it.

A shortcut has as many values as there are classes, C, and value k goes with class k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from holdfast.core.data import Column
from holdfast.tasks.stratify import stratified_parts

NONE = "none"


def associated(labels: Tensor, classes: int, strength: Tensor, strata: Tensor, rng: torch.Generator) -> Tensor:
    """The class's value for this share of the rows, spread evenly over strata, otherwise any other value.

    Args:
        labels: (N,) int64 in [0, classes).
        classes: C, two at least.
        strength: (N,) the shares, in [0, 1].
        strata: (N,) int64 codes.
        rng: Decides which rows get which value.

    Returns:
        (N,) int64 in [0, classes).

    >>> labels = torch.arange(400) % 4
    >>> rng = torch.Generator().manual_seed(0)
    >>> int((associated(labels, 4, torch.full((400,), 0.75), labels, rng) == labels).sum())
    299
    """
    shift = torch.randint(1, classes, labels.shape, generator=rng)
    for value in sorted(set(strength.tolist())):
        rows = (strength == value).nonzero()[:, 0]
        follows = stratified_parts(strata[rows], (value, 1 - value), rng) == 0
        shift[rows[follows]] = 0
    return (labels + shift) % classes


def independent(labels: Tensor, classes: int, cues: Sequence[str], rng: torch.Generator) -> dict[str, Tensor]:
    """Values of several shortcuts, all combinations with the label as equally frequent as the rows allow.

    Each shortcut is dealt evenly within the label and the shortcuts before it.

    Args:
        labels: (N,) int64 in [0, classes).
        classes: C.
        cues: Names of the shortcuts.
        rng: Decides which rows get which value.

    Returns:
        (N,) int64 in [0, classes) for each.
    """
    cell, dealt = labels, {}
    for cue in cues:
        dealt[cue] = stratified_parts(cell, [1.0] * classes, rng)
        cell = cell * classes + dealt[cue]
    return dealt


def conflicting(labels: Tensor, classes: int, cues: Sequence[str], rng: torch.Generator) -> dict[str, Tensor]:
    """Values of several shortcuts of which no two, and none and the label, stand for the same class.

    Args:
        labels: (N,) int64 in [0, classes).
        classes: C, more than there are shortcuts.
        cues: Names of the shortcuts.
        rng: Draws the values, all such combinations with equal probability.

    Returns:
        (N,) int64 in [0, classes) for each.
    """
    shifts = 1 + torch.rand((len(labels), classes - 1), generator=rng).argsort(dim=1)
    return {cue: (labels + shifts[:, place]) % classes for place, cue in enumerate(cues)}


def agreement(cues: Mapping[str, Tensor], labels: Tensor) -> Column:
    """Which shortcuts have the value of the class: ``none``, ``color``, ``color+texture`` and so on.

    Args:
        cues: (N,) values of each shortcut.
        labels: (N,) int64 classes.

    >>> agreement({"a": torch.tensor([0, 1]), "b": torch.tensor([0, 0])}, torch.tensor([1, 0])).names
    ('none', 'a', 'b', 'a+b')
    """
    codes = torch.zeros_like(labels)
    for place, values in enumerate(cues.values()):
        codes += (values == labels).long() << place
    names = ["+".join(cue for place, cue in enumerate(cues) if code >> place & 1) for code in range(1 << len(cues))]
    return Column(codes, (NONE, *names[1:]))
