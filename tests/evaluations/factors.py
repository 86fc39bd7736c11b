"""A task of two factors, and hand-made predictors that read one, the other, or half of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Prediction
from holdfast.core.task import Split, TaskData
from holdfast.models.mlp import MLP

CLASSES = 4


def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
    """Pictures (N, 3, 2, 2): label, color and noise are a channel each."""
    channels = [factors["label"] / CLASSES, factors["color"] / CLASSES, noise_ids % 97 / 97]
    return torch.stack(channels, dim=1).float()[:, :, None, None].expand(-1, -1, 2, 2)


class Reads:
    """Mixes certain readings of channels: (1, 0) reads the label only, (0, 1) the color only."""

    module = None

    def __init__(self, label: float, color: float) -> None:
        self.shares = (label, color)

    def predict(self, rows: Any) -> Prediction:
        codes = (rows.x[:, :2, 0, 0] * CLASSES).round().long()
        p = sum(share * torch.eye(CLASSES).double()[codes[:, k]] for k, share in enumerate(self.shares))
        return Prediction(logits=torch.as_tensor(p).clamp_min(1e-12).log())


def aligned(rng: np.random.Generator, share: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) labels, and colors that are the label's in exactly this share of each label's rows."""
    y = np.arange(n) % CLASSES
    kept = np.arange(n) // CLASSES < round(share * n / CLASSES)
    return y, np.where(kept, y, (y + rng.integers(1, CLASSES, n)) % CLASSES)


def task_of(train: float = 0.9, test: Sequence[float] = (0.5,), n: int = 400, **more: Any) -> TaskData:
    """``color`` is the label's in these shares of the rows of ``train`` and of each test split."""
    rng = np.random.default_rng(0)
    splits = []
    for k, share in enumerate([train, *test]):
        y, color = (torch.tensor(codes) for codes in aligned(rng, share, n))
        index = torch.arange(k * n, (k + 1) * n)
        columns = {"color": Column(color, ("red", "green", "blue", "grey")), "flat": Column.constant(n, "same")}
        x = render({"label": y, "color": color}, index)
        data = Dataset(x, y, Column.constant(n), columns, index=index)
        splits.append(Split("train" if k == 0 else f"test {k}", "train" if k == 0 else "test", data))
    task = TaskData("classification", tuple(splits), MLP(), classes=tuple("abcd"), render=render)
    return replace(task, **{"associations": {"color": tuple(range(CLASSES))}, **more})
