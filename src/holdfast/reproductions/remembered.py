"""Networks trained on MNIST with random labels, every example an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from holdfast.core.data import Dataset
from holdfast.core.ledger import Ledger
from holdfast.core.predictors import forward
from holdfast.core.task import TaskData, training_view
from holdfast.methods.and_mask import AndMask
from holdfast.tasks.random_labels import CHANGED, RandomLabels
from holdfast.training import Adam, Budget, Trainer

ROWS = 2000
SOURCE = (
    "Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, Learning explanations that are hard to vary, ICLR 2021, "
    "arXiv:2009.00329, section 3.2"
)
USES = (("task", "random-labels"), ("method", "and-mask"), ("model", "mlp"))


@dataclass(frozen=True)
class Accuracies:
    """Of one network.

    Attributes:
        train: Under the labels it was trained on.
        changed: The same on rows whose label is not the true one; NaN where there is none.
        test: Under the true labels.
    """

    train: float
    changed: float
    test: float


def trained(fraction: float, threshold: float, seed: int, epochs: int, lr: float = 1e-3) -> Accuracies:
    """Train 784-256-10 on 2,000 images by the AND-mask over single examples; batches of 80, Adam, no weight decay.

    Args:
        fraction: Of the labels that are drawn at random.
        threshold: Of the mask; 0 is plain training.
        seed: Of data and weights.
        epochs: Passes through the rows.
        lr: Learning rate.
    """
    task = RandomLabels(source="mnist", fraction=fraction, rows=ROWS, data_seed=seed).load()
    method = AndMask(groups="row", threshold=threshold, optimizer=Adam(lr=lr))
    view = training_view(task, method.needs(), Ledger())
    trainer = Trainer(seed=seed, budget=Budget(epochs * ROWS // task.batch_size), batch_size=task.batch_size)
    return _accuracies(method.fit(view, trainer), task)


def all_trained(fraction: float, threshold: float, seeds: int, epochs: int) -> dict[str, np.ndarray]:
    """(seeds,) of each accuracy."""
    found = [trained(fraction, threshold, seed, epochs) for seed in range(seeds)]
    return {name: np.array([getattr(one, name) for one in found]) for name in ("train", "changed", "test")}


def _accuracies(network: nn.Module, task: TaskData) -> Accuracies:
    train, test = task.split("train").data, task.split("test").data
    right = _right(network, train)
    origin = train.attributes["origin"]
    changed = (origin.codes == origin.names.index(CHANGED)).numpy()
    return Accuracies(right.mean(), right[changed].mean() if changed.any() else np.nan, _right(network, test).mean())


def _right(network: nn.Module, rows: Dataset) -> np.ndarray:
    return (forward(network, rows).argmax(dim=1) == rows.labels).double().numpy()
