"""Disentangled feature augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.heads.two_streams import TwoStreams
from holdfast.training import Adam, DisentangledStep, Optimizer, Trainer


@register(name="dfa")
@dataclass(frozen=True, kw_only=True)
class DFA(Method):
    """Learn what is easiest in a stream of its own, and give its features to other rows, whose labels they do not fit.

    Lee, Kim, Lee, Lee, Choo, *Learning debiased representation via disentangled feature augmentation*, NeurIPS 2021,
    arXiv:2107.01372.

    Two encoders, each the network without its last layer, feed two heads, as
    :class:`~holdfast.heads.two_streams.TwoStreams` says. Rows are weighted as in ``lff``: by how much harder they are
    to the biased stream. Later in the training the biased features are swapped between the rows of a batch as well.
    Each head is trained with the label of the row that its own stream's features are of. The paper's perceptron has 16
    units before the heads, a learning rate of .01 that falls once features are swapped, and 50,000 updates.

    Attributes:
        q: Of the biased stream's generalized cross-entropy.
        memory: Share of the past in the averages of losses.
        amplify: Factor of the biased stream's losses; they share no weights with the others, so Adam takes no notice.
        swap: Factor of the losses with swapped features.
        swap_from: Part of the budget before features are swapped: the streams have to be apart by then.
        optimizer: The optimizer of both streams.
    """

    q: Annotated[float, Range(1e-6, 1.0), Uniform(0.3, 0.9)] = 0.7
    memory: Annotated[float, Range(0.0, 0.999)] = 0.7
    amplify: Annotated[float, Range(low=0.0)] = 10.0
    swap: Annotated[float, Range(low=0.0), LogUniform(0.1, 10.0)] = 1.0
    swap_from: Annotated[float, Range(0.0, 1.0), Uniform(0.1, 0.5)] = 0.2
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",))

    def build(self, view: TrainingView, base: nn.Module | None = None) -> nn.Module:
        return TwoStreams(super().build(view, base), super().build(view, base))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = DisentangledStep(
            q=self.q,
            memory=self.memory,
            amplify=self.amplify,
            swap=self.swap,
            swap_from=self.swap_from,
            optimizer=self.optimizer,
        )
        return trainer.fit(trainer.build(self, view, model), view, step).model
