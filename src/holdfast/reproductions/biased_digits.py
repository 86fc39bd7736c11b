"""Networks trained on MNIST digits of which nearly all have the color of their class."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from holdfast.core.data import Dataset
from holdfast.core.method import Method
from holdfast.core.predictors import forward
from holdfast.core.task import TaskData, TrainingView, training_view
from holdfast.models.mlp import MLP
from holdfast.tasks.colored_mnist_10 import ColoredMNIST10
from holdfast.training import Adam, Budget, Trainer

ROWS = 16_800
"""Of which 12,000 are for training."""
OPTIMIZER = Adam(lr=1e-3)
USES = (("task", "colored-mnist-10"), ("model", "mlp"), ("method", "erm"))
NEEDS_MNIST = "needs MNIST: name the folder of data sets in HOLDFAST_DATA"


@dataclass(frozen=True, eq=False)
class Training:
    """A task, what a method may see of it, and who trains: batches of 256 for a perceptron with 100, 100, 100 units."""

    task: TaskData
    view: TrainingView
    trainer: Trainer

    @staticmethod
    def of(method: Method, strength: float, seed: int, steps: int) -> Training:
        """For this method on digits of which so many have the color of their class; the seed fixes data and weights."""
        loaded = ColoredMNIST10(strengths=(strength,), rows=ROWS, data_seed=seed).load()
        task = dataclasses.replace(loaded, model=MLP(hidden=(100, 100, 100)))
        trainer = Trainer(seed=seed, budget=Budget(steps), batch_size=256)
        return Training(task, training_view(task, method.needs(), trainer.ledger), trainer)

    @property
    def conflicting(self) -> NDArray[np.bool_]:
        """(N,) which training rows have another color than their class's."""
        return conflicting(self.task.split("train").data)


def conflicting(rows: Dataset) -> NDArray[np.bool_]:
    """(N,) which rows have another color than their class's."""
    return np.asarray((rows.attributes["color"].codes != rows.labels).numpy())


@dataclass(frozen=True)
class Accuracies:
    """Of a network on test rows, whose colors are independent of the class.

    Attributes:
        conflicting: Where the color is another class's.
        aligned: Where it is the class's.
        unbiased: The mean over all pairs of class and color.
        worst_cell: The least over all pairs of class and color.
        follows_color: Share of the conflicting rows that are named after their color.
    """

    conflicting: float
    aligned: float
    unbiased: float
    worst_cell: float
    follows_color: float


def accuracies(network: nn.Module, task: TaskData) -> Accuracies:
    """On the test rows."""
    rows = task.split("test").data
    color, label = rows.attributes["color"].codes.numpy(), rows.labels.numpy()
    named, conflict = forward(network, rows).argmax(dim=1).numpy(), conflicting(rows)
    right = named == label
    cell = np.unique(10 * label + color, return_inverse=True)[1]
    of_cells = np.bincount(cell, right) / np.bincount(cell)
    return Accuracies(
        float(right[conflict].mean()),
        float(right[~conflict].mean()),
        float(of_cells.mean()),
        float(of_cells.min()),
        float((named == color)[conflict].mean()),
    )


def trained(method: Method, strength: float, seed: int, steps: int) -> Accuracies:
    """Train by a method and measure."""
    training = Training.of(method, strength, seed, steps)
    return accuracies(method.fit(training.view, training.trainer), training.task)
