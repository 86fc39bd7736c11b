"""How much is lost under shift."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.scored import Level, ScoredRows, headline, measured_splits, score, with_interval
from holdfast.statistics import Interval, Metric


@register
@dataclass(frozen=True, kw_only=True)
class ShiftDrop(Evaluation):
    """Loss of accuracy, or rise of RMSE, from in-distribution rows to each shifted test split; positive is a loss.

    In-distribution rows are those of the first test split that is not shifted, otherwise of the first such selection
    split (whose value is a little too good, where it chose the checkpoint); the note names it.

    Attributes:
        level: Of the intervals, see :func:`difference_interval`.
    """

    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        tests = measured_splits(task, ("test",))
        same = [split for split in [*tests, *measured_splits(task, ("selection",))] if not split.shifted]
        reference = score(predictor, same[0]) if same else None
        shifted = [score(predictor, split) for split in tests if split.shifted]
        return Result(tuple(self._drop(headline(task.kind), reference, rows, rng) for rows in shifted))

    def _drop(
        self, metric: Metric, reference: ScoredRows | None, rows: ScoredRows, rng: np.random.Generator
    ) -> Measurement:
        name = f"{metric.name}-drop"
        bare = replace(rows.measurement(name, metric, float("nan")), higher_is_better=False)
        if reference is None:
            return replace(bare, note="no test or selection split without shift to compare with")
        reason = bare.note or reference.undefined(metric)
        if reason:
            return replace(bare, note=reason)
        ours = (rows.value(metric), rows.interval(metric, rng, self.level))
        theirs = (reference.value(metric), reference.interval(metric, rng, self.level))
        high, low = (theirs, ours) if metric.higher_is_better else (ours, theirs)
        drop = with_interval(replace(bare, value=high[0] - low[0]), difference_interval(*high, *low))
        return replace(drop, note=f"from {reference.split}" + (f"; {drop.note}" if drop.note else ""))


def difference_interval(first: float, of_first: Interval, second: float, of_second: Interval) -> Interval:
    """Interval of first − second, two values of independent samples, from an interval of each.

    The method of variance estimates recovery: the distance from a value to its bound stands for its standard error on
    that side, and squares add. R. Newcombe's hybrid score interval of 1998 is the case of two Wilson intervals; G. Zou
    and A. Donner, *Construction of confidence limits about effect measures: a general approach*, 2008, take any. Here
    they are those of the two values themselves, exact for plain rates and by the bootstrap of units otherwise: exact
    intervals are wider than Wilson's and make this one conservative, also where rates are near 0 or 1 and a bootstrap
    of the difference degenerates. It is conservative too where samples share units, which tend to err together.

    There is none where either is missing.

    >>> rate = Interval(0.8, 0.95, 0.95, "clopper-pearson")
    >>> interval = difference_interval(0.9, rate, 0.9, rate)
    >>> round(interval.low, 4), round(interval.high, 4)
    (-0.1118, 0.1118)
    """
    low, high, second_low, second_high = of_first.low, of_first.high, of_second.low, of_second.high
    if low is None or high is None or second_low is None or second_high is None:
        missing = of_second if low is not None and high is not None else of_first
        return Interval(None, None, missing.level, missing.kind)
    below = np.hypot(max(first - low, 0.0), max(second_high - second, 0.0))
    above = np.hypot(max(high - first, 0.0), max(second - second_low, 0.0))
    kinds = " and ".join(dict.fromkeys((of_first.kind, of_second.kind)))
    difference = first - second
    return Interval(float(difference - below), float(difference + above), of_first.level, f"mover of {kinds}")
