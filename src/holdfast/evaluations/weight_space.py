"""What evaluations of a network's surroundings in weight space share: rows, objectives, drawn profiles."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.artifacts import Curve
from holdfast.core.data import Dataset, Inputs
from holdfast.core.evaluation import Measurement, Predictor
from holdfast.core.task import Role, TaskData
from holdfast.evaluations.sampled import sampled
from holdfast.losses import Loss, default_loss
from holdfast.weights import Functional, Objective, Profile, WeightTree

BATCH = 256


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A network with the training rows around whose loss it is looked.

    Attributes:
        module: The architecture.
        tree: Its weights.
        train: At most some thousand training rows.
        test: As many test rows; None where there are none.
        loss: Per example.
        classes: Whether labels are classes.
    """

    module: nn.Module
    tree: WeightTree
    train: Dataset
    test: Dataset | None
    loss: Loss
    classes: bool

    @staticmethod
    def of(predictor: Predictor, task: TaskData, most: int, rng: np.random.Generator) -> Surroundings | None:
        """Of a predictor with a network that reads the rows of the task; None where it has none."""
        if predictor.module is None or not next(predictor.module.parameters(), torch.zeros(0)).numel():
            return None
        module = copy.deepcopy(predictor.module).cpu()
        train = rows_of(task, "train", most, rng)
        if train is None:
            return None
        loss = default_loss(task.kind, task.target_scale)
        test = rows_of(task, "test", most, rng)
        return Surroundings(module, WeightTree.of(module), train, test, loss, task.kind == "classification")

    def objective(self, rows: Dataset) -> Objective:
        """The mean loss on some rows."""
        return Objective(Functional.of(self.module), rows, self.loss)

    def exact(self, rows: Dataset) -> tuple[Objective, WeightTree]:
        """The same in double precision, with the weights."""
        network = Functional(Functional.of(self.module).module.double())
        return Objective(network, rows.to("cpu", torch.float64), self.loss), self.tree.to(torch.float64)

    def error_on_test(self) -> Objective:
        """The share of wrong test rows; the mean loss of a regression."""
        assert self.test is not None
        loss = _wrong if self.classes else self.loss
        return Objective(Functional.of(self.module), self.test, loss)

    def inputs(self) -> list[Inputs]:
        """The training inputs in batches of 256, those of a last small one left out."""
        starts = range(0, max(len(self.train) - BATCH + 1, 1), BATCH)
        return [self.train.batch(slice(start, start + BATCH)).x for start in starts]


def torch_stream(rng: np.random.Generator) -> torch.Generator:
    """A generator of torch's that begins where one of NumPy's stands."""
    return torch.Generator().manual_seed(int(rng.integers(2**31)))


def measured(metric: str, value: float, rows: Dataset, split: str) -> Measurement:
    """A number of a network's surroundings, of which less is better."""
    return Measurement(metric, float(value), split, len(rows), higher_is_better=False)


def drawn(name: str, profiles: Mapping[str, Profile], y_label: str) -> Curve:
    """Profiles between a network and another, as curves."""
    series = {label: (profile.positions, profile.values) for label, profile in profiles.items()}
    return Curve(name, series, "position", y_label, caption="At 0 this network, at 1 the other.")


def rows_of(task: TaskData, role: Role, most: int, rng: np.random.Generator) -> Dataset | None:
    """At most so many labelled rows of a role, of known environments; None where there are none."""
    parts = [split.data for split in task.with_role(role) if split.data.y is not None and len(split.data)]
    if not parts:
        return None
    rows = sampled(parts, most, rng)
    return rows if len(rows) else None


def _wrong(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.argmax(dim=1) != y).to(torch.float64)
