"""Groups by what a reference gets wrong."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.inference import First, GroupInference
from holdfast.core.predictors import forward
from holdfast.core.registry import register
from holdfast.losses import error_set

NAMES = ("the reference is right", "the reference is wrong")


@register
@dataclass(frozen=True, kw_only=True)
class Errors(GroupInference):
    """Two groups: the rows that a short training gets right, and those that it gets wrong.

    The error set of Liu et al., *Just train twice: improving group robustness without training group information*,
    ICML 2021, arXiv:2107.09044.

    Attributes:
        first: The reference's part of the budget; long enough to learn the shortcut, and not more.
        by_label: Whether each label has two groups of its own.
    """

    first: First = 0.1
    by_label: bool = False

    def infer(self, rows: Dataset, reference: nn.Module, seed: int) -> Column:
        groups = Column(error_set(forward(reference, rows), rows.labels).long(), NAMES, provenance=self.name)
        if not self.by_label or len(groups.present()) < 2:
            return groups
        crossed = Column.product({"label": rows.column("label"), "group": groups})
        return Column(crossed.codes, crossed.names, provenance=self.name)
