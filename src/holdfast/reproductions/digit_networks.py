"""Pairs of small networks trained on the embedded digits from different initial weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.task import TrainingView
from holdfast.losses.per_example import cross_entropy
from holdfast.models.mlp import MLP
from holdfast.training import Adam, Budget, GradientStep, Trainer
from holdfast.weights import Functional, Objective, WeightTree

TRAIN_ROWS = 1200
LEARNING_RATE = 1e-3


@dataclass(frozen=True, eq=False)
class Pair:
    """Two trained networks of one architecture.

    Attributes:
        module: The architecture.
        ends: Their weights.
        view: The rows that they were trained on.
        steps: Updates of each.
        seed: Of the pair.
    """

    module: nn.Module
    ends: tuple[WeightTree, WeightTree]
    view: TrainingView
    steps: int
    seed: int

    @property
    def loss(self) -> Objective:
        """The training loss."""
        return Objective(Functional.of(self.module), self.view.train, cross_entropy)

    def trainer(self) -> Trainer:
        """For a further training of as many updates."""
        return _trainer(10_000 + self.seed, self.steps)


def trained_pair(seed: int, width: int, depth: int, steps: int) -> Pair:
    """Train two networks on the same 1,200 digits.

    Args:
        seed: The pairs of different seeds share no network.
        width: Of the hidden layers.
        depth: How many hidden layers.
        steps: Updates of 128 rows, by Adam.
    """
    view = _view(MLP(hidden=(width,) * depth))
    modules = []
    for own in (2 * seed, 2 * seed + 1):
        trainer = _trainer(own, steps)
        with trainer.randomness("init"):
            module = view.model.build(view.input_shape, view.outputs)
        modules.append(trainer.fit(module, view, step()).model)
    return Pair(modules[0], (WeightTree.of(modules[0]), WeightTree.of(modules[1])), view, steps, seed)


def step() -> GradientStep:
    """The update of every training here."""
    return GradientStep(optimizer=Adam(lr=LEARNING_RATE))


def _trainer(seed: int, steps: int) -> Trainer:
    return Trainer(seed=seed, budget=Budget(steps), batch_size=128)


def _view(model: MLP) -> TrainingView:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.data[:TRAIN_ROWS] / 16, dtype=torch.float32)
    rows = Dataset(x, torch.tensor(digits.target[:TRAIN_ROWS]), Column.constant(TRAIN_ROWS))
    return TrainingView("classification", tuple(map(str, range(10))), 10, (64,), model, {"train": rows})
