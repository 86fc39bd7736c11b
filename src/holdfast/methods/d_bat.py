"""Diversity by disagreement."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.method import Method
from holdfast.core.options import Choice, LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.losses import disagreement_loss
from holdfast.methods._candidates import LabelSource, chosen, needs_of
from holdfast.training import Adam, GradientStep, Optimizer, Trainer, UnlabelledPenalty, unlabelled_rows


@register(name="d-bat")
@dataclass(frozen=True, kw_only=True)
class DBAT(Method):
    """Train models one after the other, each to contradict the earlier ones on rows without labels; then choose one.

    Pagliardini, Jaggi, Fleuret, Karimireddy, *Agree to disagree: diversity through disagreement for better
    transferability*, ICLR 2023, arXiv:2202.04414.

    The first model is trained as usual, each in a stage of its own. The earlier models are in evaluation mode and are
    not trained further. The paper uses the models together; here the result is the one that is right most often on
    the rows where the models contradict each other most, as in ``divdis``. Where the rows without labels are as in
    training, contradiction costs accuracy and nothing can be told apart.

    Attributes:
        models: How many.
        strength: Factor α of the disagreement, meant over earlier models.
        labels: Where the labels come from that choose the model: bought from the pool, or those of the holdout rows.
        queries: How many.
        optimizer: The optimizer.
    """

    models: Annotated[int, Range(low=2), Choice((2, 3, 4, 5))] = 2
    strength: Annotated[float, Range(low=0.0), LogUniform(1e-4, 10.0)] = 1.0
    labels: LabelSource = "pool"
    queries: Annotated[int, Range(low=1)] = 16
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return needs_of(self.labels)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        models = self.sequence(view, trainer, model)
        return copy.deepcopy(chosen(models, view, trainer, self.labels, self.queries))

    def sequence(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> list[nn.Module]:
        """All models, trained, before one is chosen; all start from ``model`` where there is one."""
        trained: list[nn.Module] = []
        for number in range(1, self.models + 1):
            with trainer.randomness(f"initial weights {number}"):
                network = self.build(view, base=copy.deepcopy(model))
            stage = f"model-{number}"
            trained.append(
                trainer.fit(network, view, self._step(network, trained, view, trainer, stage), stage=stage).model
            )
        return trained

    def _step(
        self, network: nn.Module, known: Sequence[nn.Module], view: TrainingView, trainer: Trainer, stage: str
    ) -> GradientStep:
        if not known:
            return GradientStep(optimizer=self.optimizer)
        source = unlabelled_rows(view, trainer, stage)
        penalty = UnlabelledPenalty(network, source, _Disagreement(tuple(known)), trainer.autocast)
        step = GradientStep(penalties=[(self.strength, penalty)], optimizer=self.optimizer)
        step.passes = 2  # one row without a label for each with one
        return step


@dataclass(frozen=True, eq=False)
class _Disagreement:
    """The weighted mean over rows, and the mean over known models, of the disagreement loss."""

    known: tuple[nn.Module, ...]

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        fresh = outputs.softmax(1)
        losses = torch.stack([disagreement_loss(self._of(model, batch), fresh) for model in self.known]).mean(0)
        return batch.mean(losses)

    @staticmethod
    @torch.no_grad()
    def _of(model: nn.Module, batch: Batch) -> Tensor:
        return model.eval()(batch.x).softmax(1)  # type: ignore[no-any-return]
