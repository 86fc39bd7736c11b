"""One of several models, chosen by a few labels that are bought where they contradict each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from holdfast.core.data import Dataset
from holdfast.core.predictors import forward
from holdfast.core.task import Needs, TrainingView
from holdfast.selection.queries import best_of, most_disputed
from holdfast.training import Trainer

LabelSource = Literal["pool", "holdout"]


def needs_of(labels: LabelSource) -> Needs:
    """Training rows, rows without labels, and those that the choice is made with."""
    return Needs(roles=("train", "unlabelled", labels), kinds=("classification",))


def chosen(
    models: Sequence[nn.Module], view: TrainingView, trainer: Trainer, labels: LabelSource, queries: int
) -> nn.Module:
    """The model that is right most often on the rows where the models contradict each other most.

    Args:
        models: With the same outputs.
        view: Its oracle sells the labels where they come from the pool.
        trainer: Charged with the forward passes.
        labels: Role of the rows.
        queries: How many labels are asked for.
    """
    rows = _counting(view.role(labels)).to("cpu", trainer.dtype)
    outputs = torch.stack([forward(model, rows) for model in models])
    trainer.ledger.forwards += len(models) * len(rows)
    asked = most_disputed(outputs, queries)
    return models[best_of(outputs[:, asked], _labels(rows.take(asked), view))]


def _counting(rows: Dataset) -> Dataset:
    """The rows of positive weight; all where there is none."""
    if rows.weight is None or not bool((rows.weight > 0).any()):
        return dataclasses.replace(rows, weight=None)
    return rows.take((rows.weight > 0).nonzero()[:, 0])


def _labels(rows: Dataset, view: TrainingView) -> torch.Tensor:
    if rows.y is not None:
        return rows.labels
    assert view.oracle is not None, "the pool comes with an oracle"
    return view.oracle.label(rows.index)
