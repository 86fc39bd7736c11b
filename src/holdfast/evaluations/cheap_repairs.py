"""What a cheap repair would buy, and cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.artifacts import Table
from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.taps import last_linear
from holdfast.core.task import Split, TaskData
from holdfast.evaluations.sampled import flat_inputs, sampled_test
from holdfast.evaluations.scored import Level, ScoredRows, headline, score
from holdfast.heads.balanced import BalancedRefit, HeadRows, moments
from holdfast.heads.last_layer import inputs_of
from holdfast.heads.linear import fit_classes, fit_numbers
from holdfast.statistics import Metric, RowStatistic, compare, simultaneous_level
from holdfast.statistics.comparisons import Comparison
from holdfast.statistics.cross_fitting import unit_folds
from holdfast.statistics.means import Array

LEAST_ROWS = 20
LEAST_LOG_PROBABILITY = -36.0
STRENGTHS = (1.0, 0.1, 0.01)
REFITS = 5
LEAST_GROUP = 10
STAND_IN_STRENGTH = 0.1


@register
@dataclass(frozen=True, kw_only=True)
class CheapRepairs(Evaluation):
    """What repairs that need no new training would do to the worst environment or group, and to the average.

    Each is fitted on one half of the rows, units kept whole, and measured on the other, both ways; for environments and
    for groups in turn:

    ``last-layer``, for a network that ends in a linear layer: that layer fitted anew on rows in which each environment
    or group, with classes each class in each of them, weighs alike. P. Kirichenko, P. Izmailov, A. Wilson, *Last layer
    re-training is sufficient for robustness to spurious correlations*, ICLR 2023, arXiv:2204.02937.

    ``recalibration``: a linear model of the label on the model's own outputs, fitted on rows weighted in the same way.
    It can move thresholds, and knows nothing that the model does not say.

    ``stand-in``, for classes and tables: a logistic regression on the model's outputs and the columns, fitted on rows
    in which each environment or group weighs alike, whatever its classes. A model trained anew under these weights may
    do better or worse: this is a hint, not its estimate.

    ``own-thresholds``: for each environment or group a threshold of its own, the best on the other half (two classes),
    or a recalibration of its own (more), or an offset (numbers). It asks for the environment or group of a row when
    predicting, which may not be known, or not be allowed. Those with fewer than 20 rows in a half are left as they are.

    A gain is the rise of accuracy, or fall of RMSE: in the average row, in the worst environment or group, and, with
    classes, in the worst class of an environment or group, which may be another before and after. The worst is sought
    among those of 20 rows or more. Intervals are by a paired bootstrap of units, and hold for all gains of a table
    together; a repair's gain is that of fits to half of the rows.

    Attributes:
        level: At which all intervals of a table hold.
        rows: A sample of about this size is looked at where there are more, small environments over-represented and
            weighted down.
        replicates: Resamples.
    """

    level: Level = 0.95
    rows: Annotated[int, Range(low=100)] = 8000
    replicates: Annotated[int, Range(low=100)] = 1000

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        found = sampled_test(task, self.rows, rng)
        if found is None:
            return Result()
        name, data = found
        metric = headline(task.kind)
        unit = "row" if data.unit is None else "unit"
        bare = Measurement("average-gain", float("nan"), name, len(data), level=self.level, unit=unit)
        columns = _columns(data, task)
        if not columns:
            return Result((replace(bare, note="one environment and no groups: there is nothing to balance"),))
        scored = score(predictor, Split(name, "test", data))
        reason = scored.undefined(metric)
        if reason:
            return Result((replace(bare, note=reason),))
        measurements: list[Measurement] = []
        tables = []
        for what, column in columns.items():
            made = self._repairs(_Material.of(scored, data, what, column, predictor, task, rng), metric, rng)
            measurements += [m for repair in made for m in repair.measurements(bare, what)]
            tables.append(_table(made, what, name, metric, self.level))
        return Result(tuple(measurements), tuple(tables), _findings(measurements, metric))

    def _repairs(self, material: _Material, metric: Metric, rng: np.random.Generator) -> list[_Repaired]:
        repairs = _applicable(material)
        statistics = material.statistics(metric)
        level = simultaneous_level(self.level, len(statistics) * len(repairs))
        before = material.merit(material.outputs)
        found = []
        for name, repair in repairs.items():
            after = material.merit(_cross_fitted(repair, material, rng))
            gains = {
                where: (_value(before, statistic), self._gain(after, before, statistic, level, rng))
                for where, statistic in statistics.items()
            }
            found.append(_Repaired(name, gains))
        return found

    def _gain(
        self, after: Array, before: Array, statistic: RowStatistic, level: float, rng: np.random.Generator
    ) -> Comparison:
        first, second = (after, before) if statistic.higher_is_better else (before, after)
        return compare(first[None], second[None], statistic, rng=rng, level=level, replicates=self.replicates)


def _findings(measurements: Sequence[Measurement], metric: Metric) -> tuple[Finding, ...]:
    """The repair that surely does most for the worst environment or group, with its price; or that none is shown to."""
    average = {m.metric.removeprefix("average-gain of "): m for m in measurements}
    worst = [m for m in measurements if m.metric.startswith(("worst-environment-gain of", "worst-group-gain of"))]
    sure = [m for m in worst if m.low is not None and m.low > 0]
    if not worst:
        return ()
    if not sure:
        return (Finding("", "No cheap repair is shown to help the worst environment or group."),)
    best = max(sure, key=lambda m: m.value)
    what, _, repair = best.metric.partition("-gain of ")
    name = what.replace("-", " ")
    gain, change = (_gained(m, metric) for m in (best, average[repair]))
    return (Finding("", f"A cheap repair would help: {repair} gains {gain} in the {name}, {change} on average."),)


def _gained(m: Measurement, metric: Metric) -> str:
    """A gain with its interval, of accuracy in points."""
    scale, unit = (100, "points") if metric.unit == "fraction" else (1, metric.name)
    low, high = (scale * (bound if bound is not None else m.value) for bound in (m.low, m.high))
    return f"{scale * m.value:.3g} {unit} [{low:.3g}, {high:.3g}]".replace("-", "−")


@dataclass(frozen=True)
class _Material:
    """What repairs are made from, N rows.

    Attributes:
        outputs: (N, C) log-probabilities, or (N, 1) means in standard deviations of the target.
        y: (N,) classes, or targets in standard deviations.
        weight: (N,).
        balanced: (N,) weights under which every cell weighs the same; zero where the group is unknown.
        even: (N,) weights under which every environment or group weighs the same.
        unit: (N,), or None.
        what: ``environment`` or ``group``.
        codes: (N,) of the environment or group, −1 unknown.
        cells: (N,) of the combinations to balance.
        fold: (N,) in 0, 1.
        columns: (N, F) inputs of a table, or None.
        features: (N, F) what goes into the network's last layer, or None.
        scale: Of the target.
    """

    outputs: Array
    y: NDArray[Any]
    weight: Array
    balanced: Array
    even: Array
    unit: NDArray[np.int64] | None
    what: str
    codes: NDArray[np.int64]
    cells: NDArray[np.int64]
    fold: NDArray[np.intp]
    columns: Array | None
    features: Array | None
    scale: float

    @staticmethod
    def of(
        rows: ScoredRows,
        data: Dataset,
        what: str,
        column: Column,
        predictor: Predictor,
        task: TaskData,
        rng: np.random.Generator,
    ) -> _Material:
        codes = column.codes.cpu().numpy()
        count = max(len(task.classes), 1)
        cells = np.where(codes < 0, -1, codes * count + (rows.y if task.classes else 0))
        weight = np.ones(len(codes)) if rows.weight is None else rows.weight / rows.weight.mean()
        scale = 1.0 if task.classes else float(rows.y.std()) or 1.0
        outputs = np.maximum(rows.scores, LEAST_LOG_PROBABILITY) if task.classes else rows.scores[:, None] / scale
        return _Material(
            outputs=outputs,
            y=rows.y if task.classes else rows.y / scale,
            weight=weight,
            balanced=_balanced(weight, cells),
            even=_balanced(weight, codes),
            unit=rows.unit,
            what=what,
            codes=codes,
            cells=cells,
            fold=unit_folds(cells, rows.unit, rng),
            columns=flat_inputs(data, rng) if task.classes and task.encoder and task.encoder.columns else None,
            features=_features(predictor, data, outputs * scale),
            scale=scale,
        )

    def merit(self, outputs: Array) -> Array:
        """(N,) correct or not, or squared errors in the target's units."""
        if self.y.dtype.kind == "f":
            return np.asarray(((outputs[:, 0] - self.y) * self.scale) ** 2)
        return np.asarray(outputs.argmax(1) == self.y, dtype=np.float64)

    def statistics(self, metric: Metric) -> dict[str, RowStatistic]:
        """The metric of all rows, and of the worst parts that are large enough."""
        whole = RowStatistic(
            higher_is_better=metric.higher_is_better, finish=metric.finish, units=self.unit, weights=self.weight
        )
        found = {"average": whole, f"worst-{self.what}": replace(whole, groups=_large(self.codes))}
        if self.y.dtype.kind != "f":
            found[f"worst-class-in-{self.what}"] = replace(whole, groups=_large(self.cells))
        return found


@dataclass(frozen=True)
class _Repaired:
    """A repair, with what each statistic was before it and what is gained."""

    name: str
    gains: Mapping[str, tuple[float, Comparison]]

    def measurements(self, bare: Measurement, what: str) -> list[Measurement]:
        """One for each statistic."""
        found = []
        for where, (_, gain) in self.gains.items():
            interval = gain.interval
            none = interval.low is None
            found.append(
                replace(
                    bare,
                    metric=f"{where}-gain of {self.name} by {what}",
                    value=gain.difference,
                    low=interval.low,
                    high=interval.high,
                    interval="" if none else f"simultaneous {interval.kind}",
                    note=f"interval: {interval.kind}" if none else "",
                )
            )
        return found


Repair = Callable[[_Material, NDArray[np.bool_], np.random.Generator], Array]
"""(Material, rows to fit on (N,), rng) to outputs of all rows (N, K)."""


def _applicable(material: _Material) -> Mapping[str, Repair]:
    repairs: dict[str, Repair] = {}
    if material.features is not None:
        repairs["last-layer"] = _last_layer
    repairs["recalibration"] = _recalibration
    if material.columns is not None:
        repairs["stand-in"] = _stand_in
    repairs["own-thresholds"] = _own_thresholds
    return repairs


def _cross_fitted(repair: Repair, material: _Material, rng: np.random.Generator) -> Array:
    outputs = material.outputs.copy()
    for k in (0, 1):
        asked, fitted = material.fold == k, (material.fold != k) & (material.balanced > 0)
        if fitted.sum() >= 2:
            outputs[asked] = repair(material, fitted, rng)[asked]
    return outputs


def _last_layer(material: _Material, fitted: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    assert material.features is not None
    mean, scale = moments(material.features[fitted], centred=True)
    rows = HeadRows(
        x=(material.features[fitted] - mean) / scale,
        y=material.y[fitted],
        groups=material.cells[fitted],
        weight=material.weight[fitted] / material.weight[fitted].mean(),
        outputs=material.outputs.shape[1],
        intercept=True,
    )
    head = BalancedRefit(STRENGTHS, REFITS, LEAST_GROUP)(rows, rng)
    return head.after(mean, scale)(material.features)


def _recalibration(material: _Material, fitted: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    return _linear(_said(material.outputs), material, fitted, material.balanced, C=1.0)


def _stand_in(material: _Material, fitted: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    assert material.columns is not None
    x = np.column_stack([_said(material.outputs), material.columns])
    return _linear(x, material, fitted, material.even, C=STAND_IN_STRENGTH)


def _own_thresholds(material: _Material, fitted: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    outputs = material.outputs.copy()
    for code in np.unique(material.codes[fitted]):
        here, learnt = material.codes == code, fitted & (material.codes == code)
        if learnt.sum() < LEAST_ROWS:
            continue
        if material.y.dtype.kind == "f":
            residual = material.y[learnt] - outputs[learnt, 0]
            outputs[here] += np.average(residual, weights=material.weight[learnt])
        elif outputs.shape[1] == 2:
            outputs[here, 0] += _best_threshold(material, learnt)
        else:
            outputs[here] = _linear(_said(material.outputs), material, learnt, material.weight, C=1.0)[here]
    return outputs


def _best_threshold(material: _Material, rows: NDArray[np.bool_]) -> float:
    """The log-odds above which the second class is most often right to predict; of equals the nearest to zero."""
    odds = material.outputs[rows, 1] - material.outputs[rows, 0]
    order = np.argsort(odds, kind="stable")
    odds, signed = odds[order], (material.weight[rows] * np.where(material.y[rows] == 1, 1.0, -1.0))[order]
    lost = np.concatenate([[0.0], signed.cumsum()])  # by not predicting the second class for the lowest k
    between = np.concatenate([[odds[0] - 1.0], (odds[1:] + odds[:-1]) / 2, [odds[-1] + 1.0]])
    distinct = np.concatenate([[True], odds[1:] > odds[:-1], [True]])
    candidates = np.concatenate([between[distinct], [0.0]])
    values = np.concatenate([lost[distinct], [lost[np.searchsorted(odds, 0.0, side="right")]]])
    best = values <= values.min() + 1e-12 * len(odds)
    return float(candidates[best][np.abs(candidates[best]).argmin()])


def _said(outputs: Array) -> Array:
    """Outputs without what softmax does not see; two classes are one number."""
    if outputs.shape[1] == 1:
        return outputs
    centred: Array = outputs - outputs.mean(1, keepdims=True)
    return centred[:, 1:] if outputs.shape[1] == 2 else centred


def _linear(x: Array, material: _Material, fitted: NDArray[np.bool_], weight: Array, C: float) -> Array:
    mean, scale = moments(x[fitted], centred=True)
    z, share = (x - mean) / scale, weight[fitted] / max(weight[fitted].mean(), 1e-12)
    if material.y.dtype.kind == "f":
        return fit_numbers(z[fitted], material.y[fitted], share, C=1.0)(z)
    return fit_classes(z[fitted], material.y[fitted], share, classes=material.outputs.shape[1], C=C)(z)


def _features(predictor: Predictor, data: Dataset, outputs: Array) -> Array | None:
    """(N, F) what goes into the last layer; None where that layer does not give the outputs, or there is no network."""
    if predictor.module is None:
        return None
    try:
        layer = last_linear(predictor.module)
        features = inputs_of(layer, predictor.module, data)
    except UserError:
        return None
    own = features @ layer.weight.detach().double().cpu().numpy().T
    if isinstance(layer.bias, Tensor):
        own = own + layer.bias.detach().double().cpu().numpy()
    return features if _same(own, outputs) else None


def _same(own: Array, outputs: Array) -> bool:
    """Whether a layer's values are the outputs: up to softmax, or a line where these are numbers."""
    if not np.isfinite(own).all() or len(own) != len(outputs):
        return False
    if outputs.shape[1] == 1:
        line = np.column_stack([own, np.ones(len(own))])
        expected = np.asarray(line @ np.linalg.lstsq(line, outputs, rcond=None)[0])
    else:
        own = np.column_stack([np.zeros(len(own)), own]) if own.shape[1] == 1 else own
        expected = own - own.mean(1, keepdims=True)
        outputs = outputs - outputs.mean(1, keepdims=True)
    near = 1e-3 * (1 + float(outputs.std()))
    return expected.shape == outputs.shape and bool(np.allclose(expected, outputs, rtol=1e-3, atol=near))


def _balanced(weight: Array, codes: NDArray[np.int64]) -> Array:
    """(N,) weights of mean one under which every code weighs the same; zero where it is −1."""
    known = codes >= 0
    mass = np.bincount(codes[known], weight[known], minlength=int(codes.max(initial=0)) + 1)
    balanced = np.where(known, weight / np.maximum(mass[codes], 1e-12), 0.0)
    return np.asarray(balanced / max(balanced.mean(), 1e-12))


def _large(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The codes, −1 in place of those with few rows; all of them where all have few."""
    values, counts = np.unique(codes[codes >= 0], return_counts=True)
    large = values[counts >= LEAST_ROWS]
    return np.where(np.isin(codes, large), codes, -1) if len(large) else codes


def _columns(data: Dataset, task: TaskData) -> dict[str, Column]:
    """The environment and the group, where they have several values."""
    groups = task.group_column(data)
    columns = {"environment": data.environment} | ({} if groups is None else {"group": groups})
    return {what: column for what, column in columns.items() if len(column.present()) > 1}


def _value(merits: Array, statistic: RowStatistic) -> float:
    """The statistic itself."""
    weights = np.ones(len(merits)) if statistic.weights is None else np.asarray(statistic.weights)
    codes = np.zeros(len(merits), dtype=int) if statistic.groups is None else np.asarray(statistic.groups)
    present = [codes == code for code in np.unique(codes[(codes >= 0) & (weights > 0)])]
    means = [float(statistic.finish(np.average(merits[rows], weights=weights[rows]))) for rows in present]
    return min(means) if statistic.higher_is_better else max(means)


def _table(made: list[_Repaired], what: str, split: str, metric: Metric, level: float) -> Table:
    lines = [
        (repair.name, where.replace("-", " "), before, *_cells(gain), _reading(gain))
        for repair in made
        for where, (before, gain) in repair.gains.items()
    ]
    direction = "rises of accuracy" if metric.higher_is_better else "falls of RMSE"
    caption = (
        f"Each repair is fitted on one half of the rows and measured on the other, both ways. Gains are {direction}; "
        "below zero the repair does harm, and what it does to the average is its price. Where an interval holds zero, "
        f"no change is shown. own-thresholds needs to know the {what} of a row when predicting, which may not be known "
        "or allowed; a stand-in is no estimate of the same model trained anew. Intervals hold for all gains of the "
        f"table together at level {level:g}."
    )
    columns = ("repair", "of", f"{metric.name} now", "gain", "low", "high", "reading")
    return Table(f"what cheap repairs by {what} would buy on {split}", columns, tuple(lines), caption)


def _cells(gain: Comparison) -> tuple[float | str, ...]:
    bounds = (gain.interval.low, gain.interval.high)
    return gain.difference, *("" if bound is None else bound for bound in bounds)


def _reading(gain: Comparison) -> str:
    low, high = gain.interval.low, gain.interval.high
    if low is None or high is None:
        return "no change" if gain.difference == 0 else "not known"
    return "gains" if low > 0 else "loses" if high < 0 else "no change shown"
