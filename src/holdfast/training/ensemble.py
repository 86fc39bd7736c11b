"""The update of a last-layer ensemble."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from holdfast.core.data import Batch
from holdfast.heads.ensemble import LastLayerEnsemble
from holdfast.selection.kinds import KIND
from holdfast.training.context import StepContext
from holdfast.training.step import GradientStep


class EnsembleStep(GradientStep):
    """The usual update where each row trains the head of its own kind, and the predictor of kinds.

    A row's loss is ℓ(head_k, y) + cross-entropy(d, k) with k its attribute ``kind``, as
    :class:`~holdfast.selection.kinds.OneOfKinds` gives it.

    Args:
        parts: Those of :class:`~holdfast.training.GradientStep`.
    """

    def _run(self, model: nn.Module, batch: Batch, progress: float) -> StepContext:
        assert self.loss is not None, "setup() was not called"
        kind = batch.attributes[KIND]
        with self._autocast():
            heads, kinds = cast(LastLayerEnsemble, model).parts(batch.x)
            outputs = heads[torch.arange(len(kind), device=kind.device), kind]
            losses = self.loss(outputs, batch.labels) + F.cross_entropy(kinds, kind, reduction="none")
        return StepContext(batch, outputs, {}, losses, self.loss, self.updates, progress)
