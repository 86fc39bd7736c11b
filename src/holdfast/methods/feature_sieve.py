"""The feature sieve."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import Choice, LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.taps import tapped
from holdfast.core.task import Needs, TrainingView
from holdfast.training import Adam, Optimizer, SieveStep, Trainer


@register
@dataclass(frozen=True, kw_only=True)
class FeatureSieve(Method):
    """Make an early layer forget, again and again, what a small reader can tell the label by, so that the rest must do.

    Tiwari, Shenoy, *Overcoming simplicity bias in deep networks using a feature sieve*, ICML 2023, arXiv:2301.13293.

    The reader is trained on what the layer puts out, without moving it; every so many updates the layers up to this one
    are trained to leave the reader with equal probabilities. Only the abstract of the paper was read; the schedule
    and all defaults are ours. Forgetting too often or too strongly can undo the training.

    Attributes:
        layer: Whose output the reader sees; the default is the first activation of ``mlp`` and ``cnn``.
        hidden: Width of the reader's hidden layer.
        every: Updates from one forgetting to the next.
        forget: Factor of the forgetting loss.
        optimizer: The optimizer, of the reader and of forgetting as well.
    """

    layer: str = "features.2"
    hidden: Annotated[int, Range(low=1), Choice((16, 32, 64, 128))] = 32
    every: Annotated[int, Range(low=1), Choice((1, 5, 10, 20, 50))] = 10
    forget: Annotated[float, Range(low=0.0), LogUniform(0.1, 100.0)] = 1.0
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(kinds=("classification",))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        network = trainer.build(self, view, model)
        with trainer.randomness("reader"):
            reader = self._reader(network, view)
        step = SieveStep(self.layer, every=self.every, forget=self.forget, optimizer=self.optimizer)
        return trainer.fit({"model": network, "reader": reader}, view, step).model

    def _reader(self, network: nn.Module, view: TrainingView) -> nn.Module:
        """A network of one hidden layer that reads the layer's output, flattened."""
        probe = copy.deepcopy(network).to("cpu", torch.float32).eval()
        x = view.train.take(torch.arange(1)).to("cpu").batch().x
        with tapped(probe, [self.layer]) as features, torch.no_grad():
            probe(x)
        width = features[self.layer].flatten(1).shape[1]
        first, last = nn.Linear(width, self.hidden), nn.Linear(self.hidden, view.outputs)
        return nn.Sequential(OrderedDict(flatten=nn.Flatten(), first=first, activation=nn.ReLU(), last=last))
