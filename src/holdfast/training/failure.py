"""The update of two networks of which one learns from what the other fails on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.losses.difficulty import LossMemory, relative_difficulty
from holdfast.losses.per_example import cross_entropy, generalized_cross_entropy
from holdfast.training.optimizers import Adam, Optimizer

if TYPE_CHECKING:
    from holdfast.core.task import TrainingView
    from holdfast.training.step import Models, Optimizers
    from holdfast.training.trainer import Trainer


class FailureWeights(nn.Module):
    """Weights of rows by how much harder they are to a biased model than to the main one.

    Args:
        view: Its training rows are those that may come.
        memory: Share of the past in the averages of losses.
        quantile: Of a class's losses, which others are measured by.
    """

    def __init__(self, view: TrainingView, memory: float, quantile: float = 1.0) -> None:
        super().__init__()
        rows = view.train
        self.biased = LossMemory(rows.index, rows.labels, memory, quantile)
        self.main = LossMemory(rows.index, rows.labels, memory, quantile)

    def forward(self, batch: Batch, biased: Tensor, main: Tensor) -> Tensor:
        """(B,) weights in [0, 1] from the (B,) losses of both models, which are remembered; 0 for rows of no weight."""
        counted = slice(None) if batch.weight is None else batch.weight > 0
        self.biased.update(batch.index[counted], biased[counted])
        self.main.update(batch.index[counted], main[counted])
        difficulty = relative_difficulty(self.biased.shares(batch.index), self.main.shares(batch.index))
        return difficulty.nan_to_num(0.0).to(main.dtype)


class FailureStep(nn.Module):
    """Train ``models["biased"]`` to be biased, and ``models["model"]`` on the rows that the other fails on.

    The biased network has the generalized cross-entropy, which makes it rely on what is easiest. A row's cross-entropy
    under the main network is weighted by :class:`FailureWeights`.

    Args:
        q: Of the generalized cross-entropy, in (0, 1].
        memory: Share of the past in the averages of losses.
        quantile: Of a class's losses, which others are measured by.
        optimizer: How to build the optimizer of each network, and how its learning rate falls.
    """

    passes = 2

    def __init__(
        self,
        *,
        q: float,
        memory: float,
        quantile: float = 1.0,
        optimizer: Optimizer = Adam(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__()
        self.q, self.memory, self.quantile, self.optimizer = q, memory, quantile, optimizer
        self.updates = 0
        self._autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    def setup(self, models: Models, view: TrainingView, trainer: Trainer) -> Optimizers:
        """An optimizer for each network, and the memories of their losses."""
        self._autocast = trainer.autocast
        self.weights = FailureWeights(view, self.memory, self.quantile).to(trainer.device)
        return {
            name: self.optimizer.build([{"params": list(model.parameters()), "name": name}])
            for name, model in models.items()
        }

    def forward(self, models: Models, batch: Batch, optimizers: Optimizers, progress: float) -> Mapping[str, Tensor]:
        """One update of both."""
        self.optimizer.set_rate(optimizers.values(), self.updates, progress)
        biased, main = self.losses(models, batch)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        (biased + main).backward()  # type: ignore[no-untyped-call]  # the networks share nothing
        for optimizer in optimizers.values():
            optimizer.step()
        self.updates += 1
        return {"loss": main.detach(), "biased": biased.detach()}

    def losses(self, models: Models, batch: Batch) -> tuple[Tensor, Tensor]:
        """The biased network's loss and the main one's, over the batch."""
        with self._autocast():
            biased, main = models["biased"](batch.x), models["model"](batch.x)
        entropy = cross_entropy(main, batch.labels)
        weights = self.weights(batch, cross_entropy(biased, batch.labels), entropy)
        return batch.mean(generalized_cross_entropy(biased, batch.labels, self.q)), batch.mean(weights * entropy)

    def close(self) -> None:
        """Nothing is left on the models."""

    def get_extra_state(self) -> dict[str, Any]:
        """The number of updates."""
        return {"updates": self.updates}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.updates = state["updates"]
