"""Four rows, four environments, one feature that holds in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from holdfast.core.artifacts import Matrix
from holdfast.core.data import Column, Dataset
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Split, Task, TaskData
from holdfast.models.linear import Linear


@register
@dataclass(frozen=True, kw_only=True)
class LinregPatchwork(Task):
    """Linear regression on x = 3 · [I₄ | 0.1 · 1], y = 1, every row an environment.

    Each row can be fitted by a feature of its own, which is 3 there and 0 elsewhere, or by the last feature, which is
    0.3 everywhere. Averaged gradients prefer the large features and fail on rows left out; gradients that must agree
    find the last one. From the code of Parascandolo et al., *Learning explanations that are hard to vary* (ICLR 2021,
    arXiv:2009.00329), with its model: no intercept, weights from N(0, 0.1²).

    Attributes:
        train_environments: The first so many rows are for training, the others are the shifted test.

    >>> LinregPatchwork().load().split("train").data.x
    tensor([[3.0000, 0.0000, 0.0000, 0.0000, 0.3000],
            [0.0000, 3.0000, 0.0000, 0.0000, 0.3000]])
    """

    train_environments: Annotated[int, Range(1, 4)] = 2

    def load(self) -> TaskData:
        x = torch.cat([3 * torch.eye(4), torch.full((4, 1), 0.3)], dim=1)
        rows = Column(torch.arange(4), tuple(f"row {row}" for row in range(1, 5)))
        data = Dataset(x=x, y=torch.ones(4), environment=rows)
        train = Split("train", "train", data.take(torch.arange(self.train_environments)))
        test = Split("test", "test", data.take(torch.arange(self.train_environments, 4)), shifted=True)
        picture = Matrix(
            "The four rows",
            values=tuple(tuple(round(value, 1) for value in row) for row in x.tolist()),
            rows=rows.names,
            columns=("own 1", "own 2", "own 3", "own 4", "shared"),
            x_label="feature",
            y_label="environment",
            caption="The target is 1 in every row.",
        )
        return TaskData(
            kind="regression",
            splits=(train, test) if len(test.data) else (train,),
            model=Linear(bias=False, init_scale=0.1),
            steps=1000,
            batch_size=4,
            question="Is 1 predicted from the feature that all rows share, so that rows left out are right as well?",
            stable="the last feature, 0.3 in every row",
            shortcut="a feature of each row's own, ten times as large",
            pictures=(picture,),
        )
