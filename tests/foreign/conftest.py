"""A table and pictures for models that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.task import Split, TaskData
from holdfast.models.cnn import CNN
from holdfast.tasks.table import TableFile

FEATURES = ["a", "b", "c"]


def numbers(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=FEATURES).astype("float32")
    frame["ward"] = rng.choice(["north", "south"], n)
    return frame.assign(ill=np.where(frame["a"] > 0, "yes", "no"), cost=2 * frame["b"] + 1)


MakeTask = Callable[..., TaskData]


@pytest.fixture
def table(tmp_path: Path) -> MakeTask:
    def make(frame: pd.DataFrame | None = None, label: str = "ill", drop: tuple[str, ...] = ()) -> TaskData:
        path = tmp_path / "rows.parquet"
        rows = numbers() if frame is None else frame
        other = {"ill": "cost", "cost": "ill"}.get(label, "cost")
        rows.drop(columns=other, errors="ignore").to_parquet(path)
        return TableFile(path=str(path), label=label, environment="ward", drop=drop).whole()

    return make


@pytest.fixture
def pictures() -> TaskData:
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    data = Dataset(x, torch.arange(40) % 2, Column.constant(40))
    return TaskData("classification", (Split("data", "test", data),), CNN(), classes=("cat", "dog"))
