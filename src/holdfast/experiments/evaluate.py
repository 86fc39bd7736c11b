"""Evaluating finished cells under a selection rule; what was evaluated before is read, not repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.core.evaluation import Evaluation, Predictor, Result
from holdfast.core.predictors import cached
from holdfast.core.seeds import numpy_rng
from holdfast.core.task import Split, TaskData
from holdfast.evaluations.scored import headline
from holdfast.experiments.cells import build_module, finished_predictor, in_precision, selected_step
from holdfast.experiments.numerics import limited
from holdfast.experiments.provenance import PROVENANCE
from holdfast.experiments.results import CellResult, RowScores
from holdfast.experiments.spec import CellSpec, hash_of
from holdfast.experiments.store import Cell, CellStore
from holdfast.experiments.training_curves import training_curves


@dataclass(frozen=True)
class Evaluated:
    """Where the results of a cell under one selection rule stand: plain JSON, kept in a run's folder.

    Attributes:
        key: The cell.
        selected: The step whose weights were evaluated; None for a model without kept checkpoints.
        evaluations: Reference of each evaluation to the hash its files are named by.
        scores: The hash that the per-row scores are named by.
    """

    key: str
    task: str
    fold: str
    method: str
    seed: int
    selected: int | None
    evaluations: Mapping[str, str]
    scores: str


def evaluate_cell(spec: CellSpec, cell: Cell, data: TaskData, evaluations: Sequence[Evaluation]) -> Evaluated:
    """Evaluate a finished cell under its spec's selection rule; what is there already is not computed again.

    Args:
        spec: Of the cell; its rule chooses the checkpoint.
        cell: Finished.
        data: The loaded task.
        evaluations: Those not of the task's kind are left out.
    """
    step = selected_step(cell, spec.rule)
    work = _Work(spec, cell, in_precision(data, spec), step)
    with limited(spec.numerics):
        keys = {e.reference: work.evaluate(e) for e in evaluations if data.kind in e.kinds}
        scores = work.score()
    return Evaluated(cell.key, spec.task.reference, spec.fold, spec.label, spec.seed, step, keys, scores)


def read_result(store: CellStore, what: Evaluated) -> CellResult:
    """Everything a report says of an evaluated cell, from its files alone."""
    cell = store.get(what.key)
    results = {reference: cell.evaluation(key) for reference, key in what.evaluations.items()}
    return CellResult(
        key=what.key,
        task=what.task,
        fold=what.fold,
        method=what.method,
        seed=what.seed,
        selected=what.selected,
        measurements=tuple(m for result in results.values() for m in result.measurements),
        artifacts={
            **{reference: result.artifacts for reference, result in results.items()},
            "training": training_curves(cell.history),
            "inferred groups": cell.groups,
        },
        records=cell.records,
        scores=cell.scores(what.scores),
        history=cell.history,
        ledger=cell.read("ledger"),
        spec=cell.read("spec"),
        provenance={key: value for key, value in cell.read("provenance").items() if key in PROVENANCE},
        findings={reference: result.findings for reference, result in results.items()},
    )


class _Work:
    """One cell with one selected checkpoint; the model is loaded only if something is still to be computed."""

    def __init__(self, spec: CellSpec, cell: Cell, data: TaskData, step: int | None) -> None:
        self.spec, self.cell, self.data, self.step = spec, cell, data, step
        self._predictors: dict[int, Predictor] = {}

    def evaluate(self, evaluation: Evaluation) -> str:
        """Finish an evaluation at every phase's boundary; returns its key."""
        what = {"evaluation": evaluation.describe(), "rule": self.spec.rule.describe(), "step": self.step}
        key = hash_of(what)
        if not self.cell.has_evaluation(key):
            results = [self._evaluate(evaluation, phase, key) for phase in range(self.data.phases)]
            measurements = tuple(m for result in results for m in result.measurements)
            self.cell.save_evaluation(key, what, dataclasses.replace(results[-1], measurements=measurements))
        return key

    def score(self) -> str:
        """Keep per-row scores of the headline metric on every split with labels; returns their key."""
        key = hash_of({"rule": self.spec.rule.describe(), "step": self.step})
        if not self.cell.has_scores(key):
            splits = [split for split in self.data.splits if split.data.y is not None]
            self.cell.save_scores(key, [self._row_scores(split) for split in splits])
        return key

    def _evaluate(self, evaluation: Evaluation, phase: int, key: str) -> Result:
        rng = numpy_rng(self.spec.seed, "evaluation", key, phase)
        result = evaluation.evaluate(self._predictor(phase), self.data, rng)
        stamped = [dataclasses.replace(m, phase=phase, selection=self.spec.rule.reference) for m in result.measurements]
        return dataclasses.replace(result, measurements=tuple(stamped))

    def _predictor(self, phase: int) -> Predictor:
        if phase not in self._predictors:
            splits = [split.data for split in self.data.splits]
            predictor = finished_predictor(self.spec, self.cell, self.data, self._model(phase))
            self._predictors[phase] = cached(predictor, splits)
        return self._predictors[phase]

    def _model(self, phase: int) -> Any:
        if not self.cell.is_module:
            return self.cell.estimator()
        module = build_module(self.spec, self.data)
        last = phase + 1 == self.data.phases
        module.load_state_dict(self.cell.weights(self.step) if last else self.cell.phase_weights(phase))
        return module

    def _row_scores(self, split: Split) -> RowScores:
        metric, data = headline(self.data.kind), split.data
        prediction = self._predictor(self.data.phases - 1).predict(data)
        group = self.data.group_column(data)

        def array(tensor: Any) -> np.ndarray:
            return np.asarray(tensor.cpu().numpy())

        assert metric.per_row is not None, "a headline metric is a mean over rows"
        logits, mean = prediction.logits, prediction.mean
        scores = array(mean) if logits is None else array(logits.double().log_softmax(dim=1))
        return RowScores(
            split=split.name,
            role=split.role,
            shifted=split.shifted,
            metric=metric.name,
            values=metric.per_row(array(data.labels), scores),
            index=array(data.index),
            units=array(data.units),
            environment=array(data.environment.codes),
            environment_names=data.environment.names,
            group=None if group is None else array(group.codes),
            group_names=() if group is None else group.names,
            weight=None if data.weight is None else array(data.weight).astype(float),
        )
