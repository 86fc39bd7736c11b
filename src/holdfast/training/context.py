"""What one update knows: the batch, the outputs, the losses, tapped features."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from holdfast.core.data import Batch
from holdfast.losses.environments import EnvironmentLosses, environment_means
from holdfast.losses.per_example import Loss


@dataclass(frozen=True)
class StepContext:
    """Everything that risks, penalties and aggregators of one update may read.

    Attributes:
        batch: B rows.
        outputs: (B, K) of the model.
        features: Outputs of the tapped layers by name.
        losses: (B,) per-example losses.
        loss: The function that gave them.
        step: Updates made before this one.
        progress: Part of the budget spent before this one, in [0, 1).
    """

    batch: Batch
    outputs: Tensor
    features: Mapping[str, Tensor]
    losses: Tensor
    loss: Loss
    step: int
    progress: float

    @functools.cached_property
    def environment_losses(self) -> EnvironmentLosses:
        """Mean losses of the environments present, made when first asked for."""
        return environment_means(self.losses, self.batch.environment, self.batch.weight)
