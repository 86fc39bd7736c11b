"""What a network loses where shortcuts of ``multi-bias`` do not have the class's value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.predictors import forward
from holdfast.core.task import TaskData, training_view
from holdfast.statistics.shortcut_gaps import CellAccuracies, cells_of
from holdfast.training import Budget, Trainer

IN_DISTRIBUTION, ALL = "in distribution", "all"


def shortcut_gaps(network: nn.Module, task: TaskData, cues: Sequence[str], strength: float) -> dict[str, float]:
    """Accuracy as in training, and how much more or less it is where shortcuts are broken.

    Li et al., *A Whac-A-Mole dilemma*, CVPR 2023, arXiv:2212.04825: test rows, on which shortcuts are independent, are
    cells by which shortcuts have the class's value. ``in distribution`` is the mean of the cells' accuracies, each as
    heavy as in training; the gap of a shortcut is the accuracy of the cell where it alone is broken minus that, ``all``
    that of the cell where every one is. A gap below zero is a loss.

    Args:
        network: From inputs to logits.
        task: With rows in split ``test``.
        cues: The shortcuts that tell the class in training; others of the task are left as they come.
        strength: The probability that each has the class's value in training.
    """
    rows = task.split("test").data
    right = (forward(network, rows).argmax(1) == rows.labels).numpy()
    cells = cells_of(np.stack([rows.attributes[cue].codes != rows.labels for cue in cues], axis=1))
    every = 2 ** len(cues) - 1
    broken = [cell.bit_count() for cell in range(every + 1)]
    shares = np.array([strength ** (len(cues) - count) * (1 - strength) ** count for count in broken])
    found = CellAccuracies.of(right, cells, shares, rng=np.random.default_rng(0))
    gaps = {cue: found.gap(1 << place).value for place, cue in enumerate(cues)}
    return {IN_DISTRIBUTION: found.in_distribution, **gaps, ALL: found.gap(every).value}


def trained(chain: Sequence[Method], task: TaskData, seed: int, steps: int) -> nn.Module:
    """The network of a chain of methods, each of which goes on from the last one's."""
    model: nn.Module | None = None
    for method in chain:
        trainer = Trainer(seed=seed, budget=Budget(steps), batch_size=task.batch_size)
        model = method.fit(training_view(task, method.needs(), Ledger()), trainer, model)
    assert model is not None, "a chain has a method"
    return model
