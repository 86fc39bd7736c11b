"""Tasks whose inputs are the model's outputs, so that a test decides what is predicted."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Evaluation, Measurement, Result
from holdfast.core.predictors import ModulePredictor, cached
from holdfast.core.task import Kind, Model, Role, Split, TaskData

ENVIRONMENTS = ("north", "south", "east")
GROUPS = ("young", "old", "absent")


@dataclass(frozen=True)
class NoModel(Model):
    pass


@dataclass(frozen=True)
class Bench:
    """Makes splits with row ids of their own, and evaluates the model that says what x says."""

    def split(
        self, name: str, role: Role, outputs: Any, y: Any, *, environment: Any = None, group: Any = None, **more: Any
    ) -> Split:
        n, start = len(y), zlib.crc32(name.encode())
        rows = Dataset(
            x=torch.as_tensor(np.asarray(outputs)),
            y=torch.as_tensor(np.asarray(y)),
            environment=Column(torch.as_tensor([0] * n if environment is None else environment), ENVIRONMENTS),
            attributes={} if group is None else {"age": Column(torch.as_tensor(group), GROUPS)},
            index=torch.arange(start, start + n),
            **{key: torch.as_tensor(np.asarray(value)) for key, value in more.items() if key != "shifted"},
        )
        return Split(name, role, rows, shifted=bool(more.get("shifted", False)))

    def task(self, *splits: Split) -> TaskData:
        last = splits[-1].data
        kind: Kind = "regression" if last.labels.is_floating_point() else "classification"
        width = max(2, last.input_shape[0])
        classes = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"[:width]) if kind == "classification" else ()
        return TaskData(kind, splits, NoModel(), classes=classes, groups=("age",) if last.attributes else ())

    def run(self, evaluation: Evaluation, *splits: Split, seed: int = 0) -> Result:
        task = self.task(*splits)
        predictor = cached(ModulePredictor(nn.Identity(), task.kind, task.classes), [])
        return evaluation.evaluate(predictor, task, np.random.default_rng(seed))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def pick() -> Callable[..., Measurement]:
    """The one measurement with these fields; environment and group are None unless given."""

    def find(result: Result, **fields: Any) -> Measurement:
        wanted = {"environment": None, "group": None, **fields}
        (found,) = [m for m in result.measurements if all(getattr(m, key) == v for key, v in wanted.items())]
        return found

    return find
