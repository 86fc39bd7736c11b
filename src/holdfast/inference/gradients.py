"""Groups by where rows would move the head of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.inference import First, GroupInference
from holdfast.core.options import Range
from holdfast.core.predictors import forward
from holdfast.core.registry import register
from holdfast.heads.gradients import projected_gradients
from holdfast.inference._reference import clustered, representation_of
from holdfast.representations.class_clusters import check_class_sizes

WIDTH = 256
"""Coordinates that gradients are projected to."""


@register
@dataclass(frozen=True, kw_only=True)
class Gradients(GroupInference):
    """Clusters, within each label, of the gradients that rows have in the last layer of a reference.

    Zeng, Greenewald, Lee, Solomon, Yurochkin, *Outlier-robust group inference via gradient space clustering*, 2022,
    arXiv:2210.06759, who use DBSCAN; here by k-means on ten principal components.

    Attributes:
        first: The reference's part of the budget; long enough to learn the shortcut, and not more.
        number: Clusters of each label; None for two to four, as the silhouette says.
    """

    first: First = 0.1
    number: Annotated[int | None, Range(low=2)] = None

    def check(self, rows: Dataset) -> None:
        check_class_sizes(rows.labels.numpy(), self.number or 1)

    def infer(self, rows: Dataset, reference: nn.Module, seed: int) -> Column:
        features, outputs = representation_of(reference, rows), forward(reference, rows)
        gradients = projected_gradients(features, outputs, rows.labels, WIDTH, seed)
        return clustered(gradients, rows, seed, self.number, self.name)
