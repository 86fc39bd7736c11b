"""The AND-mask over time."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from holdfast import training
from holdfast.core.method import Method
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.selection import EnvironmentCyclingSampler
from holdfast.training import GradientStep, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class AndAdam(Method):
    """Move a weight only where the sign of its gradient is steady from environment to environment.

    Each batch comes from one environment; environments take turns in random order. The temporal AND-mask of
    Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations that are hard to vary*, ICLR 2021,
    arXiv:2009.00329, algorithm 1, for many environments of which few fit into a batch.

    Attributes:
        optimizer: With the threshold of the mask.
    """

    optimizer: training.AndAdam = training.AndAdam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        codes = view.train.environment.codes
        sampler = EnvironmentCyclingSampler(codes, trainer.batch_size, trainer.rng("batches main"))
        step = GradientStep(optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step, source=trainer.rows(view, sampler)).model
