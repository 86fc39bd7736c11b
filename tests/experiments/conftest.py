"""A task so small that a cell is made in milliseconds, and grids over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from holdfast.commands.request import chains_of
from holdfast.core.data import Column, Dataset
from holdfast.core.registry import create
from holdfast.core.task import Role, Split, Task, TaskData
from holdfast.experiments.grid import Grid, load_folds
from holdfast.experiments.store import CellStore
from holdfast.models.mlp import MLP
from holdfast.training import Budget, SelectionRule

ROLES: tuple[Role, ...] = ("train", "selection", "holdout", "test")
ROWS = 24


@dataclass(frozen=True, kw_only=True)
class Tiny(Task):
    """24 rows per role in two environments, three features; ``note`` changes no number."""

    name: ClassVar[str] = "tiny"
    scale: float = 1.0
    note: str = ""

    def load(self) -> TaskData:
        return TaskData(
            kind="classification",
            splits=tuple(Split(role, role, self._rows(place), role == "test") for place, role in enumerate(ROLES)),
            model=MLP(hidden=(3,)),
            steps=4,
            batch_size=8,
            classes=("no", "yes"),
            groups=("color",),
        )

    def _rows(self, place: int) -> Dataset:
        rng = torch.Generator().manual_seed(place)
        y = torch.arange(ROWS) % 2
        x = self.scale * torch.randn(ROWS, 3, generator=rng) + y[:, None]
        environment = Column((torch.arange(ROWS) // 2) % 2, ("north", "south"))
        color = Column((torch.arange(ROWS) // 4) % 2, ("red", "blue"))
        return Dataset(x, y, environment, {"color": color}, index=torch.arange(ROWS) + place * ROWS)


MakeGrid = Callable[..., Grid]


@pytest.fixture
def make_grid() -> MakeGrid:
    """``make_grid("erm,erm+dfr", seeds=2, select="last", steps=3, task=…)``."""

    def make(methods: str = "erm", *, seeds: int = 1, select: str = "validation", steps: int = 3, **task: Any) -> Grid:
        return Grid(
            folds=load_folds(Tiny(**task)),
            chains=chains_of(methods),
            seeds=tuple(range(seeds)),
            rule=create(SelectionRule, select),
            budget=Budget(steps),
        )

    return make


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    """An empty store."""
    return CellStore(tmp_path / "cells")
