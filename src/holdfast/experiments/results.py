"""Results of a run: what finished cells say, ready for summaries and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from holdfast.core.artifacts import Artifact
from holdfast.core.evaluation import Finding, Measurement
from holdfast.core.task import Kind, Role
from holdfast.training.records import Record


@dataclass(frozen=True)
class RowScores:
    """Per-row scores of one model on one split: what comparisons are made of.

    Attributes:
        split, role: The rows; ``shifted`` where they follow another distribution than the training rows.
        metric: Headline metric whose rows these are: ``accuracy`` (0 or 1) or ``rmse`` (squared errors).
        values: (N,) float64.
        index: (N,) row ids; equal over methods and seeds of a task.
        units: (N,) unit codes.
        environment, group: (N,) codes, −1 unknown; group is None where the task has no groups.
        environment_names, group_names: Their names.
        weight: (N,) row weights, or None.
    """

    split: str
    role: Role
    shifted: bool
    metric: str
    values: np.ndarray
    index: np.ndarray
    units: np.ndarray
    environment: np.ndarray
    environment_names: tuple[str, ...]
    group: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    weight: np.ndarray | None = None


@dataclass(frozen=True)
class CellResult:
    """A finished cell: one method with one seed on one task (or fold of it), under one selection rule.

    Attributes:
        key: The cell's hash, the name of its folder.
        task: Reference of the task, such as ``colored-digits:strengths=[0.95,0.8]``.
        fold: The held-out environments of this fold; empty where the task is not folded.
        method: The chain as typed, such as ``erm+dfr``.
        seed: Its seed.
        selected: The step whose weights were evaluated; None for a model without steps.
        measurements: Of every evaluation.
        artifacts, findings: By evaluation name.
        records: Scores of every kept checkpoint on every split, test splits included: learning curves.
        scores: Per-row scores by split name.
        history: Scalars along the training of the last stage.
        ledger: Costs, as ``Ledger.as_dict()`` gives them.
        spec: What was hashed.
        provenance: Versions, git commit, date, machine: recorded and not hashed.
    """

    key: str
    task: str
    fold: str
    method: str
    seed: int
    selected: int | None
    measurements: tuple[Measurement, ...]
    artifacts: Mapping[str, tuple[Artifact, ...]]
    records: tuple[Record, ...]
    scores: Mapping[str, RowScores]
    history: tuple[Mapping[str, float], ...]
    ledger: Mapping[str, Any]
    spec: Mapping[str, Any]
    provenance: Mapping[str, Any]
    findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSummary:
    """The facts of a task that a report shows (see ``TaskData``).

    Attributes:
        per_step: How many environments and rows of each an update sees.
    """

    reference: str
    kind: Kind
    question: str
    stable: str
    shortcut: str
    notes: tuple[str, ...]
    pictures: tuple[Artifact, ...]
    per_step: str = ""


@dataclass(frozen=True)
class RunResult:
    """Everything a report of one run shows.

    Attributes:
        command: The command line that makes it again.
        task: Its facts; a folded task has one summary and a fold name in each cell.
        methods: Labels in the order asked for; the first is the baseline of comparisons.
        cells: One per method × seed × fold.
        rule: Reference of the selection rule; ``rule_oracle`` marks a rule that saw test rows.
        trials: How many hyper-parameter settings were tried for each method.
        warnings: One line each.
        failures: One line for each cell whose training failed.
    """

    command: str
    task: TaskSummary
    methods: tuple[str, ...]
    cells: tuple[CellResult, ...]
    rule: str
    rule_oracle: bool = False
    trials: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
