"""Groups between which a reference would like to rescale its outputs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.inference import First, GroupInference
from holdfast.core.predictors import forward
from holdfast.core.registry import register
from holdfast.losses import inferred_environments

NAMES = ("the reference fits", "the reference would rather be less sure")


@register(name="eiil")
@dataclass(frozen=True, kw_only=True)
class EIIL(GroupInference):
    """Two groups: those for which the reference's invariance penalty (IRMv1) is largest.

    Creager, Jacobsen, Zemel, *Environment inference for invariant learning*, ICML 2021, arXiv:2010.07249. What is
    inferred is only as good as the reference is biased.

    Attributes:
        first: The reference's part of the budget; long enough to learn the shortcut, and not more.
    """

    first: First = 0.1

    def infer(self, rows: Dataset, reference: nn.Module, seed: int) -> Column:
        return Column(inferred_environments(forward(reference, rows), rows.labels), NAMES, provenance=self.name)
