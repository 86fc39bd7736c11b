"""How a model treats rows that differ in an attribute and are alike otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.artifacts import Table
from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.sampled import even_rows
from holdfast.evaluations.scored import Level
from holdfast.statistics import simultaneous_level
from holdfast.statistics.resampling import unit_index

Array = NDArray[np.float64]


@register
@dataclass(frozen=True, kw_only=True)
class MatchedPairs(Evaluation):
    """The difference in prediction between rows with and without a value of an attribute that are alike otherwise.

    Each row with the value is paired with the row without it that is nearest in the other features (encoded, in
    standard deviations; pairs farther apart than ``caliper`` per feature are dropped), among those of the same label
    and environment. The mean difference is what the value goes with in the model's eyes once label, environment and
    known features are equal; what else differs and is in no feature is not accounted for. Pictures have no features
    to match on: their pairs are alike in label and environment only. Labels of a regression are matched by quarters.
    P. Rosenbaum, D. Rubin, *Constructing a control group using multivariate matched sampling methods*, 1985.

    Of the classes, the table shows the one whose probability differs most. Intervals are normal, with standard errors
    over the rows paired to (a row paired to many counts once) or units, and hold together over all attributes, values
    and classes.

    Attributes:
        caliper: Largest distance, in standard deviations, per square root of a feature.
        least_pairs: Values of fewer pairs are left out.
        least: Differences that are not surely larger are not named.
        max_rows: So many rows are used at most.
        level: Of the intervals.
    """

    caliper: Annotated[float, Range(low=0.0)] = 0.5
    least_pairs: Annotated[int, Range(low=2)] = 20
    least: Annotated[float, Range(0.0, 1.0)] = 0.02
    max_rows: Annotated[int, Range(low=100)] = 6_000
    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        data = even_rows(task, self.max_rows, rng)
        if data is None or not data.attributes:
            return Result()
        said = _said(predictor, data)
        names = task.classes or ("the prediction",)
        values = [(name, code) for name, column in data.attributes.items() for code in column.present()]
        each = simultaneous_level(self.level, len(values) * len(names))
        found = []
        for name, code in values:
            pairs = self._pairs(task, data, name, code, rng)
            if len(pairs) >= self.least_pairs:
                found.append(_Difference.of(data, said, names, (name, code), pairs, each))
        found.sort(key=lambda d: -abs(d.value))
        return Result(
            tuple(d.measurement(self.level) for d in found),
            (_table(found, task, self.level),),
            tuple(d.finding(_alike(data)) for d in found if max(d.low, -d.high) > self.least)[:3],
        )

    def _pairs(self, task: TaskData, data: Dataset, name: str, code: int, rng: np.random.Generator) -> NDArray[Any]:
        """(M, 2) positions of rows with a value, and of their partners without it."""
        has = (data.attributes[name].codes == code).numpy()
        features = _features(task, data, name)
        strata = _strata(data)
        pairs = [
            pair
            for stratum in np.unique(strata)
            for pair in self._nearest(
                features, np.flatnonzero((strata == stratum) & has), np.flatnonzero((strata == stratum) & ~has), rng
            )
        ]
        return np.asarray(pairs, dtype=np.intp).reshape(-1, 2)

    def _nearest(
        self, features: Array | None, own: NDArray[Any], others: NDArray[Any], rng: np.random.Generator
    ) -> Iterator[tuple[int, int]]:
        from sklearn.neighbors import NearestNeighbors

        if not len(own) or not len(others):
            return
        if features is None or not features.shape[1]:
            yield from zip(own, rng.choice(others, len(own)), strict=True)
            return
        found = NearestNeighbors(n_neighbors=1).fit(features[others])
        distance, place = found.kneighbors(features[own])
        near = distance[:, 0] <= self.caliper * np.sqrt(features.shape[1])
        yield from zip(own[near], others[place[near, 0]], strict=True)


@dataclass(frozen=True)
class _Difference:
    """Of what a model says, for one value of an attribute; of the class that differs most."""

    attribute: str
    value_name: str
    what: str
    pairs: int
    value: float
    low: float
    high: float

    @staticmethod
    def of(
        data: Dataset, said: Array, names: Sequence[str], value: tuple[str, int], pairs: NDArray[Any], level: float
    ) -> _Difference:
        from scipy.stats import norm

        difference = said[pairs[:, 0]] - said[pairs[:, 1]]
        mean = difference.mean(axis=0)
        unit = unit_index(len(data), None if data.unit is None else data.unit.numpy())
        place = np.unique(unit[pairs[:, 1]], return_inverse=True)[1]
        sums = np.zeros((place.max() + 1, said.shape[1]))
        np.add.at(sums, place, (difference - mean) / len(pairs))
        error = np.sqrt((sums**2).sum(axis=0) * len(sums) / max(len(sums) - 1, 1))
        most = int(np.abs(mean).argmax())
        reach = float(norm.ppf((1 + level) / 2) * error[most])
        column: Column = data.attributes[value[0]]
        m = float(mean[most])
        return _Difference(value[0], column.names[value[1]], names[most], len(pairs), m, m - reach, m + reach)

    def measurement(self, level: float) -> Measurement:
        return Measurement(
            metric=f"matched difference of {self.what}",
            value=self.value,
            split="test",
            n=self.pairs,
            low=self.low,
            high=self.high,
            interval="simultaneous normal",
            level=level,
            unit="pair",
            group=f"{self.attribute}={self.value_name}",
        )

    def finding(self, alike: str) -> Finding:
        more = "more" if self.value > 0 else "less"
        low, high = sorted((100 * abs(self.low), 100 * abs(self.high)))
        return Finding(
            self.attribute,
            f"At equal {alike}, rows where {self.attribute!r} is {self.value_name!r} get "
            f"{100 * abs(self.value):.1f} points [{low:.1f}, {high:.1f}] {more} of {self.what!r} than others.",
        )


def _alike(data: Dataset) -> str:
    """What is equal within pairs, in words."""
    return "label and environment" if len(data.input_shape) > 1 else "label, environment and other features"


def _said(predictor: Predictor, data: Dataset) -> Array:
    """(N, C) probabilities, or (N, 1) predictions in standard deviations of the label."""
    prediction = predictor.predict(data)
    outputs = prediction.outputs.double()
    spread = data.labels.double().std(correction=0)
    return np.asarray((outputs / spread if prediction.logits is None else outputs.softmax(dim=1)).numpy())


def _strata(data: Dataset) -> NDArray[Any]:
    """(N,) codes of environment and label, or quarter of the label."""
    label = data.labels.double().numpy()
    if data.labels.is_floating_point():
        label = np.searchsorted(np.quantile(label, (0.25, 0.5, 0.75)), label).astype(float)
    codes = np.stack([data.environment.codes.numpy().astype(float), label])
    return np.asarray(np.unique(codes, axis=1, return_inverse=True)[1])


def _features(task: TaskData, data: Dataset, attribute: str) -> Array | None:
    """(N, F) encoded features without those of the attribute, in standard deviations; None for pictures."""
    x = data.batch().x
    if not isinstance(x, Tensor) or x.ndim != 2:
        return None
    values = x.double().numpy()
    if task.encoder is not None:
        kept = [column.name != attribute for column in task.encoder.columns for _ in column.feature_names]
        values = values[:, kept]
    spread = values.std(axis=0)
    return np.asarray(values[:, spread > 0] / spread[spread > 0])


def _table(found: Sequence[_Difference], task: TaskData, level: float) -> Table:
    of = "class" if task.classes else "of"
    lines = [(d.attribute, d.value_name, d.what, d.pairs, *(100 * v for v in (d.value, d.low, d.high))) for d in found]
    return Table(
        "matched pairs",
        ("attribute", "value", of, "pairs", "difference", "low", "high"),
        tuple(lines),
        "Points of probability (regression: hundredths of the label's standard deviation) that rows with the value "
        "get beyond rows without it that are alike in label, environment and all known features. "
        f"Other differences are not accounted for. Intervals hold together at level {level:g}.",
    )
