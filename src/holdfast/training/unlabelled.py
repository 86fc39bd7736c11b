"""Penalties on what a model says of rows without labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.selection import Augmented, EnvironmentSampler, Rows, Source

if TYPE_CHECKING:
    from holdfast.core.task import TrainingView
    from holdfast.training.context import StepContext
    from holdfast.training.trainer import Trainer


class UnlabelledPenalty(nn.Module):
    """A penalty on a model's outputs for rows that come from a source of their own, a batch at every update.

    The source's place is in the state of the step. The model is run in training mode, as for the labelled rows.

    Args:
        model: What the step trains; held as a reference, so that its weights are not trained twice.
        source: Batches whose labels are not looked at.
        penalty: From the outputs and the batch to a scalar.
        autocast: The precision context of a forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        penalty: Callable[[Tensor, Batch], Tensor],
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple it is no part of this module
        self.source, self.penalty, self.autocast = source, penalty, autocast

    def forward(self, context: StepContext) -> Tensor:
        batch = self.source.next_batch()
        with self.autocast():
            outputs = self._model[0](batch.x)
        return self.penalty(outputs, batch)

    def get_extra_state(self) -> dict[str, Any]:
        """The place of the source."""
        return self.source.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.source.load_state_dict(state)


def unlabelled_rows(view: TrainingView, trainer: Trainer, stage: str) -> Source:
    """Batches of the rows in role ``unlabelled``, as many from each environment, augmented as the trainer's others."""
    data = trainer.place(view.role("unlabelled"))
    name = f"unlabelled {stage}"
    sampler = EnvironmentSampler(data.environment.codes, trainer.batch_size, trainer.rng(f"batches {name}"))
    source = Rows(data, sampler)
    return Augmented(source, trainer.augment, trainer.rng(f"augmentation {name}")) if trainer.augment else source
