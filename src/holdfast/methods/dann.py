"""Domain-adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import Choice, LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.taps import REPRESENTATION, last_linear
from holdfast.core.task import TrainingView
from holdfast.losses import EnvironmentAdversary, MeanOfEnvironments
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@register(name="dann")
@dataclass(frozen=True, kw_only=True)
class DANN(Method):
    """Hide from an adversary, in what the head reads, which environment a row is from.

    Ganin et al., *Domain-adversarial training of neural networks*, JMLR 2016, arXiv:1505.07818. Where shortcuts hide
    the environment as well, it has nothing against them.

    Attributes:
        strength: Factor λ of the reversed gradient.
        hidden: Width of the adversary's two hidden layers.
        optimizer: The optimizer, of the adversary as well.
    """

    strength: Annotated[float, Range(low=0.0), LogUniform(1e-2, 1e2)] = 1.0
    hidden: Annotated[int, Range(low=1), Choice((32, 64, 128, 256))] = 64
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = trainer.build(self, view, model)
        width, environments = last_linear(network).in_features, len(view.train.environment.names)
        with trainer.randomness("adversary"):
            adversary = EnvironmentAdversary(width, environments, strength=self.strength, hidden=self.hidden)
        step = GradientStep(
            risk=MeanOfEnvironments(),
            penalties=[(1.0, adversary.to(trainer.dtype))],
            optimizer=self.optimizer,
            taps=[REPRESENTATION],
        )
        return trainer.fit(network, view, step).model
