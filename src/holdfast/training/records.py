"""Records: how a checkpoint does on a split; what selection rules choose by and learning curves show."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.task import Kind, Role
from holdfast.losses.per_example import default_loss


@dataclass(frozen=True)
class Record:
    """The score of one checkpoint on some rows.

    Attributes:
        step: Updates made before the checkpoint.
        split, role: The rows.
        environment: Their environment; None for all of the split.
        group: Their group; None for all.
        score: Accuracy, or minus the mean squared error, weighted as the rows are; higher is better.
        loss: Mean loss, weighted likewise.
        n: How many rows.
    """

    step: int
    split: str
    role: Role
    environment: str | None
    group: str | None
    score: float
    loss: float
    n: int


def record(
    step: int, outputs: torch.Tensor, split: str, role: Role, data: Dataset, kind: Kind, groups: Column | None = None
) -> list[Record]:
    """Score outputs (N, K) on all rows of a split, on each of its environments and on each of its groups.

    Environments and groups whose rows weigh nothing have no record.
    """
    losses = default_loss(kind)(outputs, data.labels).double()
    if kind == "regression":
        scores = -losses
    elif outputs.shape[1] == 1:
        scores = ((outputs.squeeze(1) > 0) == (data.labels == 1)).double()
    else:
        scores = (outputs.argmax(dim=1) == data.labels).double()

    weight = torch.ones_like(losses) if data.weight is None else data.weight.to(losses)

    def one(rows: torch.Tensor, environment: str | None, group: str | None) -> Record:
        score, loss = (float((weight * of_rows)[rows].sum() / weight[rows].sum()) for of_rows in (scores, losses))
        return Record(step, split, role, environment, group, score, loss, int(rows.sum()))

    parts: list[tuple[torch.Tensor, str | None, str | None]] = [(torch.ones_like(weight, dtype=torch.bool), None, None)]
    for code in data.environment.present():
        parts.append((data.environment.codes == code, data.environment.names[code], None))
    if groups is not None:
        parts += [(groups.codes == code, None, groups.names[code]) for code in groups.present()]
    return [one(*part) for part in parts if weight[part[0]].sum() > 0]
