"""Diversify and disambiguate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.method import Method
from holdfast.core.options import Choice, LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.heads.diverse import DiverseHeads
from holdfast.losses import cross_entropy, divergence_from_prior, mean_mutual_information
from holdfast.methods._candidates import LabelSource, chosen, needs_of
from holdfast.training import Adam, GradientStep, Optimizer, Trainer, UnlabelledPenalty, unlabelled_rows


@register(name="divdis")
@dataclass(frozen=True, kw_only=True)
class DivDis(Method):
    """Train heads that all fit the labels but say different things of rows without labels; a few labels choose one.

    Lee, Yao, Finn, *Diversify and disambiguate: learning from underspecified data*, ICLR 2023, arXiv:2202.03418.

    Heads share all layers but the last. On rows without labels the mutual information between their predictions is
    lowered, and each head is held to name the classes as often as the training labels do, without which one could
    name a single class. Where these rows go together with the label as in training, nothing can be told apart. The
    model is the network with the one head that is right most often on the rows where heads contradict each other most.

    Attributes:
        heads: How many.
        repulsion: Factor of the mean mutual information between two heads.
        prior: Factor of the divergence of a head's mean prediction from the training labels, meant over heads.
        labels: Where the labels come from that choose the head: bought from the pool, or those of the holdout rows.
        queries: How many.
        optimizer: The optimizer.
    """

    heads: Annotated[int, Range(low=2), Choice((2, 3, 4))] = 2
    repulsion: Annotated[float, Range(low=0.0), LogUniform(0.1, 100.0)] = 10.0
    prior: Annotated[float, Range(low=0.0), LogUniform(0.1, 100.0)] = 10.0
    labels: LabelSource = "pool"
    queries: Annotated[int, Range(low=1)] = 16
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return needs_of(self.labels)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        heads = self.diversified(view, trainer, model)
        candidates = [heads.single(head) for head in range(self.heads)]
        return chosen(candidates, view, trainer, self.labels, self.queries)

    def diversified(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> DiverseHeads:
        """All heads, trained, before one is chosen."""
        network = trainer.build(self, view, model)
        with trainer.randomness("heads"):
            heads = DiverseHeads(network, self.heads, keep_first=model is not None).to(trainer.device, trainer.dtype)
        penalty = UnlabelledPenalty(
            heads, unlabelled_rows(view, trainer, "main"), self._penalty(label_shares(view)), trainer.autocast
        )
        step = GradientStep(loss=loss_of_heads, penalties=[(1.0, penalty)], optimizer=self.optimizer)
        step.passes = 2  # one row without a label for each with one
        trainer.fit(heads, view, step)
        return heads

    def _penalty(self, prior: Tensor) -> _Diversity:
        return _Diversity(self.repulsion, self.prior, prior)


@dataclass(frozen=True, eq=False)
class _Diversity:
    """The penalty on (B, H, C) logits of rows without labels."""

    repulsion: float
    balance: float
    prior: Tensor

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        heads = outputs.softmax(-1).transpose(0, 1)
        prior = self.prior.to(heads)
        balance = torch.stack([divergence_from_prior(head, prior, batch.weight) for head in heads]).mean()
        return self.repulsion * mean_mutual_information(heads, batch.weight) + self.balance * balance


def loss_of_heads(outputs: Tensor, y: Tensor) -> Tensor:
    """(B,) the mean over heads of their cross-entropies, from logits (B, H, C)."""
    return torch.stack([cross_entropy(head, y) for head in outputs.unbind(1)]).mean(0)


def label_shares(view: TrainingView) -> Tensor:
    """(C,) the weighted shares of the classes among the training labels."""
    train = view.train
    weight = torch.ones(len(train)) if train.weight is None else train.weight.float()
    counts = torch.bincount(train.labels, weights=weight, minlength=view.outputs)
    return counts / counts.sum()
