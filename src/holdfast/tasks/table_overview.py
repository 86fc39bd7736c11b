"""The picture of a table: its environments, their sizes and what the label is like there."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.core.artifacts import Table
from holdfast.core.data import Dataset

MAX_ENVIRONMENTS = 20
MAX_CLASSES = 8


def environment_table(data: Dataset, label: str, classes: tuple[str, ...], tested: Tensor) -> Table:
    """Rows and label of every environment, of the largest where there are many.

    Args:
        data: (N,) the rows, in E environments none of which is empty.
        label: What the label is called.
        classes: (C,) its classes, or none for a regression target.
        tested: (M,) positions of the rows of the shifted test.

    >>> from holdfast.core.data import Column
    >>> data = Dataset(torch.zeros(3, 1), torch.tensor([0, 1, 1]), Column(torch.tensor([0, 1, 1]), ("a", "b")))
    >>> environment_table(data, "died", ("no", "yes"), torch.tensor([1, 2])).rows
    (('a', 1, 'train', 0.0), ('b', 2, 'test', 1.0))
    """
    environment = data.environment
    sizes = torch.bincount(environment.codes, minlength=len(environment.names))
    columns, values = _class_shares(data, label, classes) if classes else _moments(data, label)
    in_test = torch.isin(torch.arange(len(sizes)), environment.codes[tested])
    largest = sorted(torch.argsort(sizes, descending=True, stable=True)[:MAX_ENVIRONMENTS].tolist())
    return Table(
        "Environments",
        columns=("environment", "rows", "used for", *columns),
        rows=tuple(
            (environment.names[e], int(sizes[e]), "test" if in_test[e] else "train", *values[e].tolist())
            for e in largest
        ),
        caption="" if len(largest) == len(sizes) else f"The {len(largest)} largest of {len(sizes)} environments.",
    )


def _class_shares(data: Dataset, label: str, classes: tuple[str, ...]) -> tuple[list[str], Tensor]:
    """(E, K) share of each class, of the most frequent where there are many; of two classes only the second."""
    codes, C = data.environment.codes, len(classes)
    counts = torch.bincount(codes * C + data.labels, minlength=len(data.environment.names) * C).view(-1, C)
    shown = [1] if C == 2 else sorted(counts.sum(dim=0).topk(min(MAX_CLASSES, C)).indices.tolist())
    shares = counts / counts.sum(dim=1, keepdim=True)
    return [f"{label}: {classes[code]}" for code in shown], shares[:, shown]


def _moments(data: Dataset, label: str) -> tuple[list[str], Tensor]:
    """(E, 2) mean and standard deviation of the target."""
    codes, y = data.environment.codes, data.labels.double()
    sizes = torch.bincount(codes)
    mean = torch.bincount(codes, weights=y) / sizes
    variance = torch.bincount(codes, weights=(y - mean[codes]) ** 2) / sizes
    return [f"mean of {label}", "standard deviation"], torch.stack([mean, variance.sqrt()], dim=1)
