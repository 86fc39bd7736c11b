"""Just train twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.core.method import Method
from holdfast.core.options import Choice, Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.losses import error_set
from holdfast.methods._reference import outputs_of_reference
from holdfast.selection import RepeatingSampler
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register(name="jtt")
@dataclass(frozen=True, kw_only=True)
class JTT(Method):
    """Train briefly, then train again with the rows that the first network got wrong repeated many times.

    Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang, Finn, *Just train twice: improving group robustness without
    training group information*, ICML 2021, arXiv:2107.09044. Its two options have to be chosen with labels of groups,
    such as a selection rule by worst group.

    Attributes:
        first: The first training's part of the budget; long enough to learn the shortcut, and not more.
        repeats: How often a row that was wrong comes for each time another does.
        optimizer: The optimizer of both trainings.
    """

    first: Annotated[float, Range(1e-4, 1.0), Uniform(0.02, 0.5)] = 0.1
    repeats: Annotated[int, Range(low=1), Choice((5, 10, 20, 50, 100))] = 20
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = trainer.build(self, view, model)
        counts = torch.where(self.errors(view, trainer, model), self.repeats, 1)
        sampler = RepeatingSampler(counts, trainer.batch_size, trainer.rng("repeated batches"))
        step = GradientStep(optimizer=self.optimizer)
        return trainer.fit(network, view, step, source=trainer.rows(view, sampler)).model

    def errors(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> Tensor:
        """(N,) bool: which training rows the first network gets wrong; never one of weight zero.

        Raises:
            UserError: None, or all.
        """
        rows = view.train
        outputs = outputs_of_reference(self, view, trainer, model, self.first, self.optimizer)
        counted = torch.ones(len(rows), dtype=torch.bool) if rows.weight is None else rows.weight > 0
        wrong = counted & error_set(outputs, rows.labels)
        if not wrong.any() or torch.equal(wrong, counted):
            right, mend = ("no", "larger") if wrong.any() else ("every", "smaller")
            raise UserError(
                f"jtt: the first network is right on {right} training row, which leaves nothing to tell rows apart: "
                f"make first={self.first:g} {mend}"
            )
        return wrong
