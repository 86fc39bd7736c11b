"""Stages on disk: full checkpoints while one runs, kept weights, and the finished stage that is never run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from holdfast.core.files import read_tree, write_tree


class StageStore(Protocol):
    """Where the trainer keeps what it must not lose."""

    def save(self, stage: str, kind: str, tree: Any) -> None:
        """Keep a tree of tensors and JSON values under a stage and a kind, replacing what was there."""
        ...

    def load(self, stage: str, kind: str) -> Any | None:
        """What was saved, or None."""
        ...


@dataclass(frozen=True)
class MemoryStore:
    """Keeps references in memory: for loops in a notebook, and for tests."""

    trees: dict[tuple[str, str], Any] = field(default_factory=dict)

    def save(self, stage: str, kind: str, tree: Any) -> None:
        self.trees[stage, kind] = tree

    def load(self, stage: str, kind: str) -> Any | None:
        return self.trees.get((stage, kind))


@dataclass(frozen=True)
class FolderStore:
    """Keeps one safetensors file per stage and kind below a folder, each whole or absent."""

    folder: Path

    def save(self, stage: str, kind: str, tree: Any) -> None:
        write_tree(self._path(stage, kind), tree)

    def load(self, stage: str, kind: str) -> Any | None:
        path = self._path(stage, kind)
        return read_tree(path) if path.exists() else None

    def _path(self, stage: str, kind: str) -> Path:
        return self.folder / stage / f"{kind}.safetensors"


@dataclass(frozen=True, kw_only=True)
class LogSchedule:
    """Keep weights at steps that grow geometrically, and at the last.

    Args:
        per_doubling: How many between a step and its double.
    """

    per_doubling: int = 2

    def __contains__(self, step: int) -> bool:
        """Whether the weights after this many updates are kept.

        >>> [step for step in range(20) if step in LogSchedule(per_doubling=2)]
        [0, 1, 2, 3, 4, 6, 8, 11, 16]
        """
        if step < 2:
            return step >= 0
        power = (step.bit_length() + 1) * self.per_doubling
        return any(step == round(2 ** (k / self.per_doubling)) for k in range(power - 2 * self.per_doubling - 1, power))


Weights = Mapping[str, Any]
