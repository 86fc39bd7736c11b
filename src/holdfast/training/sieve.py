"""The update of the feature sieve."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.core.data import Batch
from holdfast.core.taps import tapped
from holdfast.losses.per_example import cross_entropy
from holdfast.training.optimizers import Adam, Optimizer

if TYPE_CHECKING:
    from holdfast.core.task import TrainingView
    from holdfast.training.step import Models, Optimizers
    from holdfast.training.trainer import Trainer


class SieveStep(nn.Module):
    """Train a network; train a reader of an early layer on what that puts out; now and then make the layer unreadable.

    1. The cross-entropy of ``models["model"]`` trains the whole network, and nothing of it the reader.
    2. That of ``models["reader"]``, which reads the layer's output as it is, trains the reader alone.
    3. At every ``every``-th update, with the reader held fixed, the layers up to that one are moved so that the reader
       gives every class the same probability: the cross-entropy of its output from the uniform distribution.

    Each has an optimizer of its own, so that none's moments move what another has no gradient in.

    Args:
        layer: Name of the early layer.
        every: Updates from one forgetting to the next.
        forget: Factor of the third loss.
        optimizer: How to build the optimizers, and how their learning rates fall.
    """

    passes = 2

    def __init__(self, layer: str, *, every: int, forget: float, optimizer: Optimizer = Adam()) -> None:  # noqa: B008
        super().__init__()
        self.layer, self.every, self.forget, self.optimizer = layer, every, forget, optimizer
        self.updates = 0
        self._autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    def setup(self, models: Models, view: TrainingView, trainer: Trainer) -> Optimizers:
        """One optimizer for the network, one for the reader, one for forgetting."""
        self._autocast = trainer.autocast
        trained = {"model": "model", "reader": "reader", "forget": "model"}
        return {
            name: self.optimizer.build([{"params": list(models[which].parameters()), "name": which}])
            for name, which in trained.items()
        }

    def forward(self, models: Models, batch: Batch, optimizers: Optimizers, progress: float) -> Mapping[str, Tensor]:
        """One update."""
        self.optimizer.set_rate(optimizers.values(), self.updates, progress)
        main, read = self.losses(models, batch)
        _descend(optimizers["model"], main)
        _descend(optimizers["reader"], read)
        self.updates += 1
        scalars = {"loss": main.detach(), "reader": read.detach()}
        if self.updates % self.every == 0:
            loss = self.forget * self.readability(models, batch)
            _descend(optimizers["forget"], loss)
            scalars["forget"] = loss.detach()
        return scalars

    def losses(self, models: Models, batch: Batch) -> tuple[Tensor, Tensor]:
        """The network's loss and the reader's: weighted means over the rows of cross-entropies."""
        outputs, features = self._run(models["model"], batch)
        with self._autocast():
            read = models["reader"](features.detach())
        return tuple(batch.mean(cross_entropy(logits, batch.labels)) for logits in (outputs, read))  # type: ignore[return-value]

    def readability(self, models: Models, batch: Batch) -> Tensor:
        """How far what the fixed reader says is from saying nothing; its gradient reaches only the layers before it."""
        reader = models["reader"].requires_grad_(False)
        try:
            _, features = self._run(models["model"], batch)
            with self._autocast():
                log_probabilities = F.log_softmax(reader(features), dim=1)
        finally:
            reader.requires_grad_(True)
        return batch.mean(-log_probabilities.mean(dim=1))

    def close(self) -> None:
        """Nothing is left on the models."""

    def get_extra_state(self) -> dict[str, Any]:
        """The number of updates."""
        return {"updates": self.updates}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.updates = state["updates"]

    def _run(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        with tapped(model, [self.layer]) as features, self._autocast():
            outputs = model(batch.x)
        return outputs, features[self.layer]


def _descend(optimizer: Any, loss: Tensor) -> None:
    """An update of the parameters that the loss depends on; the others have no gradient and stay."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
