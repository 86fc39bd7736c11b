"""The update of two streams of which one learns from what the other fails on, with the biased features swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.heads.two_streams import TwoStreams
from holdfast.losses.per_example import cross_entropy, generalized_cross_entropy
from holdfast.training.context import StepContext
from holdfast.training.failure import FailureWeights
from holdfast.training.optimizers import Adam, Optimizer
from holdfast.training.step import GradientStep

if TYPE_CHECKING:
    from holdfast.core.task import TrainingView
    from holdfast.training.step import Models, Optimizers
    from holdfast.training.trainer import Trainer


class DisentangledStep(GradientStep):
    """The usual update of :class:`~holdfast.heads.two_streams.TwoStreams`, whose biased stream is trained to be biased.

    A row's loss is W · CE(main) + amplify · GCE(biased), with W from
    :class:`~holdfast.training.failure.FailureWeights`. Once a part of the budget is spent, the same is added, times
    ``swap``, with the features of the other stream taken from another row of the batch: the label is always that of the
    row whose features the head trains, so that the other stream's say nothing of it.

    Args:
        q: Of the generalized cross-entropy, in (0, 1].
        memory: Share of the past in the averages of losses.
        amplify: Factor of the biased losses.
        swap: Factor of the losses with swapped features.
        swap_from: Part of the budget after which they are added.
        optimizer: How to build the optimizer, and how its learning rate falls.
    """

    def __init__(
        self,
        *,
        q: float,
        memory: float,
        amplify: float,
        swap: float,
        swap_from: float,
        optimizer: Optimizer = Adam(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(optimizer=optimizer)
        self.q, self.memory, self.amplify, self.swap, self.swap_from = q, memory, amplify, swap, swap_from
        self.passes = 2

    def setup(self, models: Models, view: TrainingView, trainer: Trainer) -> Optimizers:
        """The optimizer, and the memories of the losses of both streams."""
        self.weights = FailureWeights(view, self.memory)
        return super().setup(models, view, trainer)

    def _run(self, model: nn.Module, batch: Batch, progress: float) -> StepContext:
        assert self.loss is not None, "setup() was not called"
        streams = cast(TwoStreams, model)
        with self._autocast():
            main, biased = streams.features(batch.x)
            outputs, easy = streams.main_logits(main, biased), streams.biased_logits(main, biased)
        entropy = cross_entropy(outputs, batch.labels)
        weights = self.weights(batch, cross_entropy(easy, batch.labels), entropy)
        losses = self._losses(weights * entropy, easy, batch.labels)
        if self.swap and progress >= self.swap_from:
            other = shuffled(batch)
            with self._autocast():
                mixed = streams.main_logits(main, biased[other])
                easy = streams.biased_logits(main[other.argsort()], biased)  # the same mixtures
            losses = losses + self.swap * self._losses(weights * cross_entropy(mixed, batch.labels), easy, batch.labels)
        return StepContext(batch, outputs, {}, losses, self.loss, self.updates, progress)

    def _losses(self, main: Tensor, easy: Tensor, y: Tensor) -> Tensor:
        """(B,) losses of both streams."""
        return main + self.amplify * generalized_cross_entropy(easy, y, self.q)


def shuffled(batch: Batch) -> Tensor:
    """(B,) positions in a batch, in random order; rows of no weight stay where they are, and give nothing to others."""
    positions = torch.arange(len(batch), device=batch.labels.device)
    counted = positions if batch.weight is None else positions[batch.weight > 0]
    order = torch.randperm(len(counted), device=counted.device)
    return positions.index_copy(0, counted, counted[order])
