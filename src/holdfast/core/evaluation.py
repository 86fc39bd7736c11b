"""Predictors, measurements and evaluations."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from torch import Tensor, nn

from holdfast.core.artifacts import Artifact, Table, in_notebook
from holdfast.core.data import Dataset
from holdfast.core.registry import Plugin
from holdfast.core.task import TaskData

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Prediction:
    """What a model says of N rows.

    Attributes:
        logits: (N, C) unnormalised log-probabilities; None for regression.
        mean: (N,) predicted values; None for classification.
    """

    logits: Tensor | None = None
    mean: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        """(N, C) logits or (N, 1) means."""
        if self.logits is not None:
            return self.logits
        assert self.mean is not None, "a prediction has logits or a mean"
        return self.mean.unsqueeze(1)


class Predictor(Protocol):
    """What evaluations see of any model.

    One whose training kept checkpoints has them as ``checkpoints``, a mapping from steps to functions that make the
    network: see :func:`~holdfast.core.predictors.checkpoints_of`.
    One that adapts at test time also has ``adapt(stream: Iterable[Dataset]) -> Predictor``, which evaluations of
    adaptation look for and call once per environment; it works on a copy, and the batches carry no labels.
    """

    @property
    def module(self) -> nn.Module | None:
        """The network, for white-box evaluations; None where there is none."""
        ...

    def predict(self, rows: Dataset | pd.DataFrame) -> Prediction:
        """Predict these rows, raw ones where the task is a table; labels and columns are not looked at."""
        ...


@dataclass(frozen=True)
class Measurement:
    """One number, with everything needed to read it.

    Attributes:
        metric: Its name, such as ``accuracy``.
        value: NaN where it is not defined on these rows.
        split: The rows it was measured on.
        n: How many rows (or groups) it rests on.
        low, high: Ends of the interval; None where one-sided or not given.
        interval: Kind of the interval, such as ``clopper-pearson``; empty where there is none.
        level: Its confidence level.
        unit: What was resampled: ``row`` or the unit column.
        environment, group: The sub-population; None for all rows.
        higher_is_better: Direction of the metric.
        phase: The phase after which it was measured.
        selection: The rule that chose the checkpoint.
        note: Why a value is missing, or a remark.
    """

    metric: str
    value: float
    split: str
    n: int
    low: float | None = None
    high: float | None = None
    interval: str = ""
    level: float = 0.95
    unit: str = "row"
    environment: str | None = None
    group: str | None = None
    higher_is_better: bool = True
    phase: int = 0
    selection: str = ""
    note: str = ""

    def _repr_html_(self) -> str:
        return table_of((self,)).to_html()


@dataclass(frozen=True)
class Finding:
    """What an evaluation's numbers say, in one plain sentence.

    Attributes:
        subject: What it is about, such as a column.
        sentence: With the numbers that carry it.
        alarm: Whether it is a reason to act.
    """

    subject: str
    sentence: str
    alarm: bool = False


@dataclass(frozen=True)
class Result:
    """What an evaluation returns; findings come the most important first."""

    measurements: tuple[Measurement, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    findings: tuple[Finding, ...] = ()

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(finding.sentence)}</li>" for finding in self.findings)
        shown = self.artifacts or ((table_of(self.measurements),) if self.measurements else ())
        return (f"<ul>{said}</ul>" if said else "") + "".join(map(in_notebook, shown))


def table_of(measurements: Sequence[Measurement]) -> Table:
    """Measurements as a table."""
    columns = ("metric", "split", "of", "rows", "value", "low", "high")
    lines = [
        (
            m.metric,
            m.split,
            m.environment or m.group or "all",
            m.n,
            m.value,
            *("" if bound is None else bound for bound in (m.low, m.high)),
        )
        for m in measurements
    ]
    return Table("numbers", columns, tuple(lines))


class Evaluation(Plugin):
    """A way to look at a model; a frozen dataclass whose fields are its options."""

    family: ClassVar[str] = "evaluation"
    kinds: ClassVar[tuple[Literal["classification", "regression"], ...]] = ("classification", "regression")

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        """Measure a model on a task.

        Args:
            predictor: The model.
            task: The loaded task, test rows included.
            rng: The only source of randomness.
        """
        raise NotImplementedError
