"""Clusters that a model fails on are found without a column that says so, and described by the columns there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Prediction, Result
from holdfast.core.task import Split, TaskData
from holdfast.evaluations.clusters import Clusters
from holdfast.models.mlp import MLP


class Knows:
    """Right but where a row is marked as wrong."""

    module = None

    def __init__(self, y: torch.Tensor, wrong: torch.Tensor) -> None:
        self.said = torch.where(wrong, 1 - y, y)

    def predict(self, rows: Any) -> Prediction:
        said = self.said[rows.index]
        return Prediction(logits=torch.stack([1 - said, said], dim=1) * 4.0)


def evaluate(x: torch.Tensor, y: torch.Tensor, wrong: torch.Tensor, seed: int = 0, **columns: Any) -> Result:
    data = Dataset(x, y, Column.constant(len(x)), {name: Column(v, ("no", "yes")) for name, v in columns.items()})
    task = TaskData("classification", (Split("data", "test", data),), MLP(), classes=("cat", "dog"))
    return Clusters().evaluate(Knows(y, wrong), task, np.random.default_rng(seed))


def draw(n: int = 2000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator]:
    """Vectors of which one in five lies apart."""
    rng = torch.Generator().manual_seed(seed)
    apart = torch.rand(n, generator=rng) < 0.2
    x = torch.randn(n, 6, generator=rng) * 0.5 + 4.0 * apart[:, None]
    return x, torch.randint(2, (n,), generator=rng), apart, rng


def test_rows_that_lie_apart_and_fail_are_found() -> None:
    x, y, apart, rng = draw()
    wrong = (torch.rand(len(x), generator=rng) < torch.where(apart & (y == 1), 0.7, 0.05)).bool()
    result = evaluate(x, y, wrong, indoors=apart.long())
    table: Any = result.artifacts[0]
    label, marks, _, there, others, _ = table.rows[0]
    assert label == "dog"
    assert "indoors yes" in marks or "less indoors no" in marks
    assert there > 0.6
    assert others < 0.1
    assert "'dog'" in result.findings[0].sentence


def test_random_errors_are_named_at_most_at_the_level() -> None:
    named = 0
    for seed in range(40):
        x, y, _, rng = draw(600, seed)
        named += bool(evaluate(x, y, torch.rand(600, generator=rng) < 0.2, seed).findings)
    assert named <= 6  # 2 are expected at most


def test_pictures_of_a_cluster_are_shown() -> None:
    x, y, apart, rng = draw()
    pictures = (0.2 + 0.6 * apart.float())[:, None, None, None] + 0.1 * torch.rand(len(x), 3, 5, 5, generator=rng)
    result = evaluate(pictures, y, apart & (y == 0))
    assert "brightness" in result.findings[0].sentence
    assert [type(artifact).__name__ for artifact in result.artifacts] == ["Table", "ImageGrid"]


def test_few_rows_give_an_empty_table() -> None:
    x, y, apart, _ = draw(60)
    assert not evaluate(x, y, apart).measurements
