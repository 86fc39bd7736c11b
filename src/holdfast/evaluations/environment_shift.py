"""What changes between environments: labels, inputs, or the one given the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core import evaluation
from holdfast.core.artifacts import Artifact, Table
from holdfast.core.data import Dataset
from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.sampled import MOST_INPUTS, flat_inputs, sampled_test
from holdfast.evaluations.scored import Level
from holdfast.statistics import holm
from holdfast.statistics.association import slopes
from holdfast.statistics.cross_fitting import conditional_means, unit_folds
from holdfast.statistics.means import Array
from holdfast.statistics.shifts import (
    Finding,
    Sample,
    concept_shift,
    covariate_shift,
    label_shift,
    largest,
    pattern_shift,
)

FOLDS = 3
MOST_OUTPUTS = 10
MOST_COLUMNS = 15
FEW_VALUES = 5
READINGS = {
    "label shift": "the labels differ",
    "covariate shift": "the inputs differ",
    "concept shift": "alike inputs have other labels",
    "pattern shift": "inputs bear on the label in another way",
}


@register
@dataclass(frozen=True, kw_only=True)
class EnvironmentShift(Evaluation):
    """What is different in each environment from the others together: labels, inputs, labels given inputs.

    Four tests for each environment, which look at the data and not at the model:

    ``label-shift``: the null is that y is distributed as elsewhere. The effect is the difference of a class's share,
    or of the target's mean or mean distance from the mean, in standard deviations.

    ``covariate-shift``: the null is that x is distributed as elsewhere. The effect is the AUROC of a classifier that
    tells the environment from the others on rows it has not seen (D. Lopez-Paz, M. Oquab, *Revisiting classifier
    two-sample tests*, ICLR 2017, arXiv:1610.06545).

    ``concept-shift``: the null is that E[y | x] is that elsewhere, on average over rows that could be of either. The
    effect is the difference: the generalised covariance measure (R. Shah, J. Peters, *The hardness of conditional
    independence testing and the generalised covariance measure*, 2020, arXiv:1804.07203). Other inputs leave this null
    true; other frequencies of the classes do not, since they change P(y | x), too.

    ``pattern-shift``, for two classes or numbers: the null is that the environment adds the same constant everywhere to
    the log-odds, or to the mean, which other inputs and other frequencies of classes both leave true. Its alternative
    is that the label depends on x in another way, sought among linear functions of x.

    What they cannot tell: why; whether a column that is not in x would explain a concept shift; what happens where an
    environment's rows have no like elsewhere; a change of spread given x; and, with as few rows as 20 units, anything.
    The models of y and of the environment given x are splines and trees: where both are far off, a covariate shift can
    pass for a concept shift. A test that finds nothing has not shown that nothing changed.

    P-values are Holm's over all tests made here, those of single columns included. Units are kept together in fitting
    and in every error; weights count. Rows of all test splits are pooled.

    Attributes:
        level: Of the intervals, each by itself.
        rows: A random sample of about this size is looked at where there are more, with small environments
            over-represented and weights that make up for it.
        environments: So many of the largest are tested against all others.
    """

    level: Level = 0.95
    rows: Annotated[int, Range(low=100)] = 8000
    environments: Annotated[int, Range(low=1)] = 8

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        found = sampled_test(task, self.rows, rng)
        if found is None:
            return Result()
        name, data = found
        if len(data.environment.present()) < 2:
            none = Measurement("label-shift", float("nan"), name, len(data), higher_is_better=False)
            return Result((replace(none, note="one environment: there is no other to compare it with"),))
        tests = _Tests.of(data, task, self, rng)
        return tests.result(name)


@dataclass(frozen=True)
class _Test:
    """A finding about one environment, and about one column where it names one."""

    environment: str
    what: str
    finding: Finding
    n: int
    column: str = ""


@dataclass(frozen=True)
class _Tests:
    """All tests of a page.

    Attributes:
        environments, columns: Those of each environment, and those of each of its columns.
        level: Of the intervals.
        unit: What errors are over.
        remarks: Sentences for the caption.
    """

    environments: tuple[_Test, ...]
    columns: tuple[_Test, ...]
    level: float
    unit: str
    remarks: str

    @staticmethod
    def of(data: Dataset, task: TaskData, options: EnvironmentShift, rng: np.random.Generator) -> _Tests:
        x = flat_inputs(data, rng)
        codes = data.environment.codes.cpu().numpy()
        largest_first = sorted(data.environment.present(), key=lambda code: -int((codes == code).sum()))
        tested = largest_first[: options.environments]
        members = {data.environment.names[code]: codes == code for code in tested}
        sample = _sample(data, task, options.level, rng)
        found: list[_Test] = []
        indicators = np.column_stack(list(members.values())).astype(float)
        labels = conditional_means(x, sample.outputs, sample.fold, sample.weight, rng)
        labels = labels if task.kind == "regression" else np.clip(labels, 0.0, 1.0)
        propensity = np.clip(conditional_means(x, indicators, sample.fold, sample.weight, rng), 0.0, 1.0)
        for k, (name, member) in enumerate(members.items()):
            n, p = int(member.sum()), propensity[:, k]
            found.append(_Test(name, "label shift", label_shift(_marginal(sample, task), member), n))
            found.append(_Test(name, "covariate shift", covariate_shift(sample, member, p), n))
            found.append(_Test(name, "concept shift", concept_shift(sample, member, p, labels), n))
            if sample.outputs.shape[1] == 1:
                logistic = task.kind == "classification"
                pattern = pattern_shift(sample, member, p, labels, x, logistic=logistic)
                found.append(_Test(name, "pattern shift", pattern, n))
        columns = [test for name, member in members.items() for test in _by_column(data, task, sample, name, member)]
        remarks = [f"{len(data)} rows were looked at."]
        if len(largest_first) > len(tested):
            remarks.append(f"The {len(tested)} largest of {len(largest_first)} environments are tested.")
        unit = "row" if data.unit is None else "unit"
        return _Tests(tuple(found), tuple(columns), options.level, unit, " ".join(remarks))

    def result(self, split: str) -> Result:
        both = (*self.environments, *self.columns)
        adjusted = dict(zip(map(id, both), holm([test.finding.p_value for test in both]).tolist(), strict=True))
        made = sum(not np.isnan(p) for p in adjusted.values())
        measurements = [self._measurement(test, adjusted[id(test)], split, made) for test in self.environments]
        for what in dict.fromkeys(test.what for test in self.environments):
            measurements.append(self._overall(what, adjusted, split))
        return Result(tuple(measurements), tuple(self._artifacts(adjusted, split, made)), self._findings(adjusted))

    def _findings(self, adjusted: dict[int, float]) -> tuple[evaluation.Finding, ...]:
        """One sentence: what surely differs, and where."""
        alpha = 1 - self.level
        where: dict[str, list[str]] = {}
        for test in self.environments:
            if not test.finding.note and adjusted[id(test)] < alpha:
                where.setdefault(READINGS[test.what], []).append(test.environment)
        said = [f"{reading} ({_listed(names)})" for reading, names in where.items()]
        sentence = "no difference in labels, inputs, or how they go together is shown" if not said else "; ".join(said)
        return (evaluation.Finding("", f"Between environments: {sentence}."),)

    def _measurement(self, test: _Test, p: float, split: str, made: int) -> Measurement:
        found = test.finding
        bare = Measurement(
            metric=test.what.replace(" ", "-"),
            value=found.value,
            split=split,
            n=test.n,
            low=found.low,
            high=found.high,
            interval="" if found.low is None else "sandwich",
            level=self.level,
            unit=self.unit,
            environment=test.environment,
            higher_is_better=False,
        )
        about = f"{found.about}: " if found.about else ""
        return replace(bare, note=found.note or f"{about}p = {p:.2g} after Holm over {made} tests")

    def _overall(self, what: str, adjusted: dict[int, float], split: str) -> Measurement:
        """The environment that differs most surely."""
        of_kind = [test for test in self.environments if test.what == what]
        made = [test for test in of_kind if not test.finding.note]
        n = sum(test.n for test in of_kind)
        bare = Measurement(
            what.replace(" ", "-"), float("nan"), split, n, level=self.level, unit=self.unit, higher_is_better=False
        )
        if not made:
            return replace(bare, note=of_kind[0].finding.note)
        first = min(made, key=lambda test: test.finding.p_value)
        note = f"of {first.environment}, which differs most surely: p = {adjusted[id(first)]:.2g} after Holm"
        return replace(bare, value=first.finding.value, note=note)

    def _artifacts(self, adjusted: dict[int, float], split: str, made: int) -> list[Artifact]:
        alpha = 1 - self.level
        head = ("environment", "n", "test", "about", "effect", "low", "high", "p", "reading")
        lines = [
            (
                test.environment,
                test.n,
                test.what,
                *_shown(test.finding),
                adjusted[id(test)],
                _reading(test, adjusted, alpha),
            )
            for test in self.environments
        ]
        caption = (
            f"Each environment against the others together. {self.remarks} Effects: difference of a share or of a mean "
            "(targets in standard deviations); for covariate shift, how well unseen rows are told apart (AUROC, 0.5 is "
            "not at all); for pattern shift, the difference where inputs are one deviation from the mean in the "
            "direction that changes most. Concept shift compares rows of alike inputs: it may come from other "
            "frequencies of the labels alone, a pattern shift may not, and neither says why. P-values are Holm's over "
            f"all {made} tests of this page; what is not shown may still be there."
        )
        artifacts: list[Artifact] = [
            Table(f"what changes between environments on {split}", head, tuple(lines), caption)
        ]
        ranked = sorted(
            (test for test in self.columns if not test.finding.note), key=lambda test: test.finding.p_value
        )[:MOST_COLUMNS]
        if ranked:
            column_head = ("environment", "column", "about", "difference", "low", "high", "p")
            rows = tuple((test.environment, test.column, *_shown(test.finding), adjusted[id(test)]) for test in ranked)
            caption = (
                "The columns that differ most surely between an environment and the others, at most "
                f"{MOST_COLUMNS} of {len(self.columns)} pairs. Differences are in standard deviations: of ranks or of "
                "their distance from the middle for numbers, of having the value for categories."
            )
            artifacts.append(Table(f"columns that differ between environments on {split}", column_head, rows, caption))
        return artifacts


def _sample(data: Dataset, task: TaskData, level: float, rng: np.random.Generator) -> Sample:
    y = data.labels.cpu().numpy()
    outputs, names = _outputs(y, task.classes)
    weight = np.ones(len(y)) if data.weight is None else data.weight.double().cpu().numpy()
    unit: NDArray[np.int64] | None = None if data.unit is None else data.unit.cpu().numpy()
    strata = y if task.classes else 0
    cells = data.environment.codes.cpu().numpy() * (len(task.classes) or 1) + strata
    return Sample(outputs, names, weight / weight.mean(), unit, unit_folds(cells, unit, rng, FOLDS), level)


def _outputs(y: NDArray[Any], classes: tuple[str, ...]) -> tuple[Array, tuple[str, ...]]:
    """Indicators of the second of two classes, or of the most frequent of several; targets in standard deviations."""
    if not classes:
        values = y.astype(float)
        return (values - values.mean())[:, None] / (values.std() or 1.0), ("",)
    frequent = np.argsort(-np.bincount(y, minlength=len(classes)), kind="stable")[:MOST_OUTPUTS]
    shown = np.array([1]) if len(classes) == 2 else np.sort(frequent)
    return (y[:, None] == shown).astype(float), tuple(f"share of {classes[k]}" for k in shown)


def _marginal(sample: Sample, task: TaskData) -> Sample:
    """The sample as the test of labels sees it: of targets the mean, and how far they lie from it."""
    if task.kind == "classification":
        return sample
    outputs = np.column_stack([sample.outputs, np.abs(sample.outputs)])
    return Sample(outputs, ("mean", "spread"), sample.weight, sample.unit, sample.fold, sample.level)


def _by_column(data: Dataset, task: TaskData, sample: Sample, name: str, member: NDArray[np.bool_]) -> list[_Test]:
    """A test of each column of a table."""
    if not isinstance(data.x, Tensor) or data.x.ndim != 2 or data.x.shape[1] > 10 * MOST_INPUTS:
        return []
    x = data.x.double().cpu().numpy()
    direction = member - np.average(member, weights=sample.weight)
    tests, start = [], 0
    for column, outputs in _columns(task, x.shape[1]):
        views, about = _views(x[:, start : start + len(outputs)], outputs, column)
        start += len(outputs)
        effects = slopes(_scaled(views, sample.weight), direction, sample.weight, sample.unit)
        found = largest(effects, about, sample.level)
        tests.append(_Test(name, "column", found, int(member.sum()), column))
    return tests


def _columns(task: TaskData, width: int) -> list[tuple[str, tuple[str, ...]]]:
    """Each column with the names of its outputs."""
    if task.encoder is not None and len(task.encoder.feature_names) == width:
        return [(column.name, column.feature_names) for column in task.encoder.columns]
    return [(f"input {k}", (f"input {k}",)) for k in range(width)]


def _views(x: Array, outputs: tuple[str, ...], column: str) -> tuple[Array, tuple[str, ...]]:
    """Outputs as they are compared: ranks and their distance from the middle, or the few values themselves."""
    from scipy.stats import rankdata

    views, about = [], []
    for values, output in zip(x.T, outputs, strict=True):
        if len(np.unique(values)) > FEW_VALUES:
            rank = rankdata(values) / len(values) - 0.5
            views += [rank, np.abs(rank)]
            about += ["rank", "spread"]
        else:
            views.append(values)
            about.append(output.removeprefix(column).removeprefix("=").strip() or "value")
    return np.column_stack(views), tuple(about)


def _scaled(views: Array, weight: Array) -> Array:
    centred = views - np.average(views, axis=0, weights=weight)
    scale = np.sqrt(np.average(centred**2, axis=0, weights=weight))
    return np.asarray(centred / np.where(scale > 1e-12, scale, np.inf))


def _shown(found: Finding) -> tuple[Any, ...]:
    low, high = ("" if bound is None else bound for bound in (found.low, found.high))
    return found.about, found.value, low, high


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _reading(test: _Test, adjusted: dict[int, float], alpha: float) -> str:
    if test.finding.note:
        return f"not tested: {test.finding.note}"
    return READINGS[test.what] if adjusted[id(test)] < alpha else "not shown"
