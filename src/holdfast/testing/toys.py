"""A small task that serves any method: every role, three environments, a shortcut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.task import Kind, Model, Role, Split, TaskData
from holdfast.models.mlp import MLP

_ROWS: dict[Role, int] = {
    "train": 96,
    "selection": 30,
    "holdout": 48,
    "calibration": 24,
    "unlabelled": 24,
    "pool": 24,
    "test": 36,
}
_FIRST_ID = 100


def toy_task(
    kind: Kind = "classification", *, columns: Sequence[str] = ("attribute",), model: Model | None = None
) -> TaskData:
    """A task of 282 rows with six features: three tell the label, three a shortcut that fails in the test.

    Row ids do not start at 0, every unit has two rows, and no value of an input occurs twice. Where labels are
    classes, rows can be drawn with another label and another shortcut, which the first column names.

    Args:
        kind: Three classes, or a number around 3 with standard deviation 2.
        columns: Names of attribute columns; each says which way the shortcut points.
        model: By default a network with dropout, so that its training draws random numbers.

    >>> [(split.role, len(split.data)) for split in toy_task().splits][:3]
    [('train', 96), ('selection', 30), ('holdout', 48)]
    """
    rng = torch.Generator().manual_seed(0)
    n = sum(_ROWS.values())
    roles = [role for role, count in _ROWS.items() for _ in range(count)]
    is_test = torch.tensor([role == "test" for role in roles])
    labels = torch.randint(3, (n,), generator=rng)
    follows = (torch.rand(n, generator=rng) < 0.8) & ~is_test
    shortcut = torch.where(follows, labels, torch.randint(3, (n,), generator=rng))
    noise = torch.randn(n, 6, generator=rng) / 2

    def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
        means = [torch.eye(3)[factors["label"]], 2 * torch.eye(3)[factors[columns[0]]]]
        return torch.cat(means, dim=1) + noise[noise_ids - _FIRST_ID]

    environment = torch.where(is_test, 3, torch.arange(n) % 3)
    data = Dataset(
        x=torch.cat([torch.eye(3)[labels], 2 * torch.eye(3)[shortcut]], dim=1) + noise,
        y=labels if kind == "classification" else 3 + 2 * (labels - 1 + torch.randn(n, generator=rng) / 4),
        environment=Column(environment, ("north", "east", "south", "west")),
        attributes={name: Column(shortcut, ("left", "middle", "right")) for name in columns},
        unit=torch.arange(n) // 2,
        index=_FIRST_ID + torch.arange(n),
    )
    return TaskData(
        kind=kind,
        splits=tuple(
            Split(role, role, data.take(torch.tensor([r == role for r in roles]).nonzero()[:, 0]), role == "test")
            for role in _ROWS
        ),
        model=model or MLP(hidden=(8,), dropout=0.1),
        classes=("x", "y", "z") if kind == "classification" else (),
        groups=tuple(columns),
        question="Does the model look at the first three features or at the last three?",
        render=render if kind == "classification" else None,
    )
