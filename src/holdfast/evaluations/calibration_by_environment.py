"""Whether a model is as sure as it should be, and right on average, in each environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from holdfast.core.artifacts import Curve, Table
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.scored import Level, ScoredRows, by_value, headline, measured_splits, score
from holdfast.statistics import METRICS, simultaneous_level
from holdfast.statistics.association import Effects, slopes
from holdfast.statistics.means import Array
from holdfast.statistics.recalibration import recalibration_slope

MOST_ENVIRONMENTS = 6
POINTS = 5
ROWS_PER_POINT = 20
LEAST_INFORMATIVE = 10


MUCH = 0.05
"""Confidence beyond what is right that is worth a sentence."""


@register
@dataclass(frozen=True, kw_only=True)
class CalibrationByEnvironment(Evaluation):
    """How far a model's probabilities, or numbers, are off in each environment.

    Of classes: ``confidence-gap``, mean probability of the predicted class less accuracy, positive where the model is
    too sure; ``share-gap``, for two classes, mean probability of the second less its share (calibration in the large);
    ``calibration-slope``, below one where odds are too extreme (D. Cox, *Two further applications of a model for binary
    regression*, 1958). Of numbers: ``bias``, mean of prediction less target; ``residual-spread``, the standard
    deviation of that difference. Intervals have sandwich errors over units, and those of one measure hold together for
    all environments of a split. Debiased ECE and Brier score stand beside them in the table. Curves have at most five
    points of equally many rows, for the six largest environments.

    Attributes:
        level: At which all intervals of a measure on a split hold.
    """

    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        measurements: list[Measurement] = []
        artifacts: list[Table | Curve] = []
        for split in measured_splits(task, ("test",)):
            parts = by_value(score(predictor, split), split.data.environment, "environment")
            parts = {name: part for name, part in parts.items() if part.n}
            found = {name: self._measure(part, task, len(parts)) for name, part in parts.items()}
            measurements += [m for of_one in found.values() for m in of_one]
            if found:
                artifacts += [self._table(split.name, task, parts, found), _curve(split.name, task, parts)]
        return Result(tuple(measurements), tuple(artifacts), tuple(_findings(measurements)))

    def _measure(self, rows: ScoredRows, task: TaskData, environments: int) -> list[Measurement]:
        metric = headline(task.kind)
        reason = rows.undefined(metric)
        measures = MEASURES[task.kind]
        if len(task.classes) != 2:
            measures = {name: of for name, of in measures.items() if name != "share-gap"}
        found = []
        for name, effects_of in measures.items():
            bare = replace(rows.measurement(name, metric, float("nan")), higher_is_better=name == "calibration-slope")
            bare = replace(bare, level=self.level)
            if reason:
                found.append(bare)
            else:
                found.append(_with(bare, effects_of(rows), simultaneous_level(self.level, environments)))
        return found

    def _table(
        self, split: str, task: TaskData, parts: Mapping[str, ScoredRows], found: Mapping[str, list[Measurement]]
    ) -> Table:
        beside = [METRICS[name] for name in (("ece", "brier") if task.classes else ("rmse",))]
        names = [m.metric for m in next(iter(found.values()))]
        head = [column for name in names for column in (name, "low", "high")]
        lines = [
            (
                name,
                parts[name].n,
                *(cell for m in of_one for cell in (m.value, *("" if b is None else b for b in (m.low, m.high)))),
                *(parts[name].value(metric) for metric in beside),
            )
            for name, of_one in found.items()
        ]
        says = (
            "A confidence gap above zero: too sure of itself there. A share gap above zero: the second class is "
            "predicted too often there. A slope below one: probabilities too near zero and one. "
            if task.classes
            else "A bias above zero: predictions are too high there. "
        )
        caption = (
            f"{says}Where the interval holds the ideal value (0, for a slope 1), no fault is shown, which is no proof "
            f"that there is none. Intervals of a column hold together at level {self.level:g}."
        )
        columns = ("environment", "n", *head, *(metric.name for metric in beside))
        return Table(f"calibration by environment on {split}", columns, tuple(lines), caption)


def _findings(measurements: Sequence[Measurement]) -> list[Finding]:
    """The environment in which the model is most too sure of itself, where that is surely much."""
    gaps = [m for m in measurements if m.metric == "confidence-gap" and m.low is not None and m.low > MUCH]
    if not gaps:
        return []
    worst = max(gaps, key=lambda m: m.value)
    low, high = (100 * bound for bound in (worst.low or 0.0, worst.high or 1.0))
    much = f"{100 * worst.value:.0f} points [{low:.0f}, {high:.0f}]"
    return [Finding("", f"It is too sure of itself in {worst.environment!r}, by {much} of confidence.")]


def _with(bare: Measurement, effects: Effects, level: float) -> Measurement:
    value, informative = float(effects.value[0]), float(effects.informative[0])
    if np.isnan(value):
        return replace(bare, note="one class, or the predictions do not vary or separate the classes")
    if not informative >= LEAST_INFORMATIVE or not effects.error[0] > 0:
        return replace(bare, value=value, note="interval: none (too few rows, or all alike)")
    half = float(effects.half_widths(level)[0])
    low, high = value - half, value + half
    if bare.metric == "residual-spread":  # it is estimated as a variance
        value, low, high = value**0.5, max(low, 0.0) ** 0.5, high**0.5
    return replace(bare, value=value, low=low, high=high, interval="simultaneous sandwich")


def _mean(values: Array, rows: ScoredRows) -> Effects:
    return slopes(values[:, None], np.ones(len(values)), _weights(rows), rows.unit)


def _weights(rows: ScoredRows) -> Array:
    return np.ones(len(rows.y)) if rows.weight is None else rows.weight


def _confidence_gap(rows: ScoredRows) -> Effects:
    return _mean(np.exp(rows.scores.max(1)) - (rows.scores.argmax(1) == rows.y), rows)


def _share_gap(rows: ScoredRows) -> Effects:
    return _mean(np.exp(rows.scores[:, 1]) - rows.y, rows)


def _slope(rows: ScoredRows) -> Effects:
    return recalibration_slope(rows.y, rows.scores, _weights(rows), rows.unit)


def _bias(rows: ScoredRows) -> Effects:
    return _mean(rows.scores - rows.y, rows)


def _spread(rows: ScoredRows) -> Effects:
    residual = rows.scores - rows.y
    return _mean((residual - np.average(residual, weights=_weights(rows))) ** 2, rows)


MEASURES: Mapping[str, Mapping[str, Callable[[ScoredRows], Effects]]] = {
    "classification": {"confidence-gap": _confidence_gap, "share-gap": _share_gap, "calibration-slope": _slope},
    "regression": {"bias": _bias, "residual-spread": _spread},
}


def _curve(split: str, task: TaskData, parts: Mapping[str, ScoredRows]) -> Curve:
    """What was said against what came: the second of two classes, the predicted of several, or the target."""
    largest = dict(sorted(parts.items(), key=lambda item: -item[1].n)[:MOST_ENVIRONMENTS])
    lines = {name: _points(rows, task) for name, rows in largest.items()}
    lines = {name: line for name, line in lines.items() if line[0]}
    everywhere = [x for line in lines.values() for x in line[0]]
    ends = (0.0, 1.0) if task.classes else (min(everywhere, default=0.0), max(everywhere, default=1.0))
    said, came = {
        0: ("mean prediction", "mean target"),
        2: (f"probability of {task.classes[-1] if task.classes else ''}", "share"),
    }.get(len(task.classes), ("confidence", "accuracy"))
    return Curve(
        f"said and observed by environment on {split}",
        series={"perfect": (ends, ends), **lines},
        x_label=said,
        y_label=came,
        caption="An environment whose line lies above the diagonal has more of it than the model says, below it less.",
    )


def _points(rows: ScoredRows, task: TaskData) -> tuple[tuple[float, ...], tuple[float, ...]]:
    weight = _weights(rows)
    if not task.classes:
        said, came = rows.scores, rows.y.astype(float)
    elif len(task.classes) == 2:
        said, came = np.exp(rows.scores[:, 1]), rows.y.astype(float)
    else:
        said, came = np.exp(rows.scores.max(1)), (rows.scores.argmax(1) == rows.y).astype(float)
    order = np.argsort(said, kind="stable")
    order = order[(weight[order] > 0) & np.isfinite(said[order])]
    if not len(order):
        return (), ()
    points = np.array_split(order, max(1, min(POINTS, len(order) // ROWS_PER_POINT)))
    return (
        tuple(float(np.average(said[point], weights=weight[point])) for point in points),
        tuple(float(np.average(came[point], weights=weight[point])) for point in points),
    )
