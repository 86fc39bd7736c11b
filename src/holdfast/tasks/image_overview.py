"""The picture of a task with images: some of every environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.core.artifacts import ImageGrid, nested
from holdfast.core.data import Dataset
from holdfast.core.task import TaskData

MAX_ENVIRONMENTS = 6
EACH = 5
SIDE = 48


def image_grid(task: TaskData) -> ImageGrid:
    """A row of pictures for each of the largest training and test environments.

    Args:
        task: Its inputs are (N, 1 or 3, H, W) in [0, 1].
    """
    images: list[Any] = []
    captions: list[str] = []
    for split in (split for split in task.splits if split.name in ("train", "test")):
        environment = split.data.environment
        largest = sorted(zip(environment.counts(), environment.present(), strict=True), key=lambda pair: -pair[0])
        for _, code in largest[:MAX_ENVIRONMENTS]:
            rows = split.data.take(_spread(split.data, code))
            images += map(_picture, rows.batch().x)
            captions += [f"{environment.names[code]}: {_said(task, label.item())}" for label in rows.labels]
    caption = "Rows are environments; the last are those of the test." if task.with_role("test") else ""
    return ImageGrid("Images of every environment", tuple(images), tuple(captions), columns=EACH, caption=caption)


def _spread(rows: Dataset, environment: int) -> Tensor:
    """Positions of a few rows of an environment, spread evenly over its rows in order of their labels."""
    inside = (rows.environment.codes == environment).nonzero()[:, 0]
    ordered = inside[torch.argsort(rows.labels[inside], stable=True)]
    return ordered[torch.linspace(0, len(ordered) - 1, EACH).long()]


def _picture(image: Tensor) -> Any:
    """(C, H, W) as nested tuples, height × width × 3, of at most 48 pixels a side."""
    scale = max(1.0, max(image.shape[1:]) / SIDE)
    height, width = (max(1, round(side / scale)) for side in image.shape[1:])
    small = F.adaptive_avg_pool2d(image, (height, width)).expand(3, -1, -1).permute(1, 2, 0)
    return nested(small.tolist())


def _said(task: TaskData, label: float) -> str:
    return task.classes[int(label)] if task.classes else f"{label:g}"
