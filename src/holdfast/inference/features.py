"""Groups by what the head of a reference reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.inference import First, GroupInference
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.inference._reference import clustered, representation_of
from holdfast.representations.class_clusters import check_class_sizes


@register
@dataclass(frozen=True, kw_only=True)
class Features(GroupInference):
    """Clusters, within each label, of what goes into the last layer of a reference.

    N. Sohoni et al., *No subclass left behind: fine-grained robustness in coarse-grained classification problems*,
    NeurIPS 2020, arXiv:2011.12945; here by k-means on ten principal components.

    Attributes:
        first: The reference's part of the budget.
        number: Clusters of each label; None for two to four, as the silhouette says.
    """

    first: First = 1.0
    number: Annotated[int | None, Range(low=2)] = None

    def check(self, rows: Dataset) -> None:
        check_class_sizes(rows.labels.numpy(), self.number or 1)

    def infer(self, rows: Dataset, reference: nn.Module, seed: int) -> Column:
        return clustered(representation_of(reference, rows), rows, seed, self.number, self.name)
