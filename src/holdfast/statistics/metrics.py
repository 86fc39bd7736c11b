"""How good predictions are: one number from labels, scores and row weights.

Shapes: N rows, C classes, R weightings. A classification metric reads integer labels (N,) in 0..C-1 and
**log-probabilities** (N, C); a regression metric reads float targets (N,) and predicted means (N,). Every metric takes
row weights, and takes R weightings at once, which is what makes the bootstrap of any of them one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from holdfast.core.errors import UserError, unknown_name
from holdfast.statistics import classification, regression
from holdfast.statistics.calibration import calibration_error
from holdfast.statistics.means import Array, Labels, identity, row_weights, weighted_mean

Kind = Literal["classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A named metric; calling it gives one number.

    >>> y, p = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> METRICS["accuracy"](y, np.log(p), weights=[1, 1, 2])
    0.5
    >>> METRICS["auroc"](y[1:], np.log(p[1:])), METRICS["auroc"].undefined(y[1:], np.log(p[1:]))
    (nan, 'only class 1 is present')

    Attributes:
        name: As written on the command line.
        kind: The kind of task it measures.
        higher_is_better: Direction.
        unit: Of the number: ``fraction``, ``nats``, ``target``, ...
        compute: (y, scores, weights (..., N)) to values (...,), unchecked; NaN where undefined. Where ``interval`` is
            ``none``, of one weighting (N,) only.
        per_row: (y, scores) to (N,) for a metric that is ``finish`` of a mean over rows; otherwise None.
        finish: Monotone increasing function of the mean of ``per_row``, elementwise.
        interval: ``rate`` for a mean of zeros and ones, ``bootstrap`` for what resampling estimates well, or ``none``.
        reason: Labels of the rows of positive weight to why the metric is undefined on them, or None.
    """

    name: str
    kind: Kind
    higher_is_better: bool
    unit: str
    compute: Callable[[Labels, Array, Array], Array]
    per_row: Callable[[Labels, Array], Array] | None = None
    finish: Callable[[Array], Array] = identity
    interval: Literal["rate", "bootstrap", "none"] = "bootstrap"
    reason: Callable[[Labels], str | None] | None = None

    def __call__(self, y: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
        """The metric of N rows; NaN where :meth:`undefined` gives a reason.

        Args:
            y: Labels (N,) in 0..C-1, or float targets (N,).
            scores: Log-probabilities (N, C), or means (N,).
            weights: Non-negative row weights (N,); only their ratios matter. None is one each.

        Raises:
            UserError: Shapes disagree, a label is out of range, or rows of scores are not log-probabilities.
        """
        present = _of_positive_weight(*self.checked(y, scores, weights))
        return float("nan") if self._reason(*present[:2]) else float(self.compute(*present))

    def undefined(self, y: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> str | None:
        """Why the metric is NaN on these rows, in a few words; None where it is defined."""
        return self._reason(*_of_positive_weight(*self.checked(y, scores, weights))[:2])

    def checked(self, y: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> tuple[Labels, Array, Array]:
        """The three inputs as arrays that :attr:`compute` may trust; raises as :meth:`__call__` does."""
        labels, predicted = np.asarray(y), np.asarray(scores, dtype=np.float64)
        columns = 1 if self.kind == "classification" else 0
        if labels.ndim != 1 or predicted.shape[:1] != labels.shape or predicted.ndim != 1 + columns:
            wanted = "(N, C) log-probabilities" if columns else "(N,) means"
            raise UserError(f"{self.name} wants (N,) labels and {wanted}, and got {labels.shape} and {predicted.shape}")
        if columns:
            _check_classification(labels, predicted)
        return labels, predicted, row_weights(len(labels), weights)

    def _reason(self, y: Labels, scores: Array) -> str | None:
        if not len(y):
            return "no rows"
        if self.kind == "regression" and not np.isfinite(y).all():
            return "a target is not a finite number"
        # Minus infinity is a log-probability, though not a mean.
        finite = np.isfinite(scores) | (np.isneginf(scores) & (self.kind == "classification"))
        if not finite.all():
            return "a prediction is not a finite number"
        return self.reason(y) if self.reason else None


def _of_positive_weight(y: Labels, scores: Array, weights: Array) -> tuple[Labels, Array, Array]:
    kept = weights > 0
    return y[kept], scores[kept], weights[kept]


def _check_classification(y: Labels, scores: Array) -> None:
    if len(y) and (not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= scores.shape[1]):
        raise UserError(f"labels must be integers in 0..{scores.shape[1] - 1}, the columns of the scores")
    with np.errstate(over="ignore"):
        totals = np.exp(scores).sum(1)
    # A NaN row passes: the metric is undefined on it, which is no misuse.
    if (np.abs(totals - 1.0) > 1e-3).any():
        raise UserError("scores must be log-probabilities, with rows that sum to 1 after exp: apply log-softmax first")


def _one_class(y: Labels) -> str | None:
    return f"only class {y[0]} is present" if (y == y[0]).all() else None


def _constant(y: Labels) -> str | None:
    return "the target does not vary" if (y == y[0]).all() else None


def _mean_of_rows(
    name: str,
    kind: Kind,
    per_row: Callable[[Labels, Array], Array],
    unit: str,
    *,
    higher_is_better: bool = False,
    finish: Callable[[Array], Array] = identity,
    interval: Literal["rate", "bootstrap"] = "bootstrap",
) -> Metric:
    return Metric(
        name=name,
        kind=kind,
        higher_is_better=higher_is_better,
        unit=unit,
        compute=lambda y, scores, weights: finish(weighted_mean(per_row(y, scores), weights)),
        per_row=per_row,
        finish=finish,
        interval=interval,
    )


_ALL = (
    _mean_of_rows(
        "accuracy", "classification", classification.correct, "fraction", higher_is_better=True, interval="rate"
    ),
    Metric(
        name="balanced-accuracy",
        kind="classification",
        higher_is_better=True,
        unit="fraction",
        compute=classification.balanced_accuracy,
    ),
    Metric(
        name="auroc",
        kind="classification",
        higher_is_better=True,
        unit="fraction",
        compute=classification.over_classes(classification.area_under_roc),
        reason=_one_class,
    ),
    Metric(
        name="auprc",
        kind="classification",
        higher_is_better=True,
        unit="fraction",
        compute=classification.over_classes(classification.average_precision),
        reason=_one_class,
    ),
    _mean_of_rows("log-loss", "classification", classification.negative_log_likelihood, "nats"),
    _mean_of_rows("brier", "classification", classification.squared_distance_to_label, "squared probability"),
    Metric(
        name="ece",
        kind="classification",
        higher_is_better=False,
        unit="probability",
        compute=calibration_error,
        # Resamples repeat rows, and repeated rows look miscalibrated: the bootstrap of this estimate is biased up.
        interval="none",
        reason=lambda y: "fewer than 2 rows" if len(y) < 2 else None,
    ),
    _mean_of_rows("rmse", "regression", regression.squared_error, "target", finish=np.sqrt),
    _mean_of_rows("mae", "regression", regression.absolute_error, "target"),
    Metric(
        name="r2",
        kind="regression",
        higher_is_better=True,
        unit="fraction",
        compute=regression.explained_variance,
        reason=_constant,
    ),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Every metric by name, headline first within its kind. ``ece`` is the debiased root-mean-square calibration error of
the predicted class (:mod:`holdfast.statistics.calibration`); ``auroc`` and ``auprc`` average one against the rest."""


def metrics_for(kind: Kind) -> tuple[Metric, ...]:
    """The metrics of a kind of task.

    >>> [metric.name for metric in metrics_for("regression")]
    ['rmse', 'mae', 'r2']
    """
    return tuple(metric for metric in _ALL if metric.kind == kind)


def metric_named(name: str) -> Metric:
    """The metric of that name; raises UserError with near names where there is none.

    >>> metric_named("mae").unit
    'target'
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]
