"""Methods: ways to a better model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from holdfast.core.registry import Plugin
from holdfast.core.task import Needs, TrainingView

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class Method(Plugin):
    """A way to a better model: trained, repaired, or wrapped; a frozen dataclass whose fields are its options."""

    family: ClassVar[str] = "method"

    def needs(self) -> Needs:
        """What the method asks to see; by default the training rows and their environments."""
        return Needs()

    def build(self, view: TrainingView, base: nn.Module | None = None) -> nn.Module:
        """The architecture, around ``base`` where there is one; its shapes depend on no data and no randomness.

        A model is loaded by building it and reading its weights.
        """
        return view.model.build(view.input_shape, view.outputs) if base is None else base

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module | Any:
        """Train or repair.

        Args:
            view: The data, restricted to what :meth:`needs` declares.
            trainer: Owns the loop, the budget and the random streams.
            model: The model to start from or to repair; None to start afresh.

        Returns:
            A module of the shape that :meth:`build` makes, or a fitted scikit-learn estimator.
        """
        raise NotImplementedError
