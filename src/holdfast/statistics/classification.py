"""Formulas of classification metrics: labels (N,) in 0..C-1, log-probabilities (N, C), weights (..., N)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from holdfast.statistics.means import Array, Labels, ratio


def correct(y: Labels, log_p: Array) -> Array:
    """One where the most probable class (the first of equals) is the label, else zero: (N,).

    >>> correct(np.array([0, 1]), np.log([[0.7, 0.3], [0.6, 0.4]])).tolist()
    [1.0, 0.0]
    """
    return np.asarray(log_p.argmax(1) == y, dtype=np.float64)


def negative_log_likelihood(y: Labels, log_p: Array) -> Array:
    """Minus the log-probability of the label, in nats (N,); infinite where it was given none.

    >>> negative_log_likelihood(np.array([1]), np.array([[-2.0, -0.5]])).tolist()
    [0.5]
    """
    return np.asarray(-log_p[np.arange(len(y)), y])


def squared_distance_to_label(y: Labels, log_p: Array) -> Array:
    """Sum over classes of (probability − indicator of the label)², in 0..2 (N,): G. Brier's score of 1950.

    >>> squared_distance_to_label(np.array([0]), np.log([[0.5, 0.5]])).tolist()
    [0.5]
    """
    return np.asarray(((np.exp(log_p) - np.eye(log_p.shape[1])[y]) ** 2).sum(1))


def balanced_accuracy(y: Labels, log_p: Array, weights: Array) -> Array:
    """Mean, over the classes present, of the weighted accuracy within the class: (...,).

    >>> y, log_p = np.array([0, 0, 0, 1]), np.log([[0.9, 0.1]] * 4)
    >>> float(balanced_accuracy(y, log_p, np.ones(4)))
    0.5
    """
    label = np.eye(log_p.shape[1])[y]
    recall = ratio(weights @ (label * correct(y, log_p)[:, None]), weights @ label)
    return _mean_defined(recall, axis=-1)


def over_classes(area: Callable[[Labels, Array, Array], Array]) -> Callable[[Labels, Array, Array], Array]:
    """An area under a curve, made for two classes (class 1 is positive) and for more (mean of each against the rest).

    Classes that are absent, or alone, have no curve and are left out of the mean.

    Args:
        area: (positive (N,) booleans, score (N,), weights (..., N)) to (...,), NaN where undefined.
    """

    def compute(y: Labels, log_p: Array, weights: Array) -> Array:
        if log_p.shape[1] == 2:
            # The difference still orders rows whose probabilities have saturated to the same number.
            return area(y == 1, log_p[:, 1] - log_p[:, 0], weights)
        return _mean_defined(np.stack([area(y == c, log_p[:, c], weights) for c in np.unique(y)]), axis=0)

    return compute


def area_under_roc(positive: Labels, score: Array, weights: Array) -> Array:
    """Chance that a positive row scores above a negative one, ties counting one half: (...,).

    >>> float(area_under_roc(np.array([True, False, True]), np.array([3.0, 2.0, 2.0]), np.ones(3)))
    0.75
    """
    positives, negatives = _weight_at_thresholds(positive, score, weights)
    above = positives.cumsum(-1) - positives / 2
    return ratio((above * negatives).sum(-1), positives.sum(-1) * negatives.sum(-1))


def average_precision(positive: Labels, score: Array, weights: Array) -> Array:
    """Mean, over positive rows, of the precision at their threshold; NaN without rows of either sign: (...,).

    It is the area under the precision-recall curve as a step function: linear interpolation would flatter.

    >>> round(float(average_precision(np.array([True, False, True]), np.array([3.0, 2.0, 1.0]), np.ones(3))), 4)
    0.8333
    """
    positives, negatives = _weight_at_thresholds(positive, score, weights)
    precision = ratio(positives.cumsum(-1), (positives + negatives).cumsum(-1))
    mean = ratio(np.where(positives > 0, positives * precision, 0.0).sum(-1), positives.sum(-1))
    return np.where(negatives.sum(-1) > 0, mean, np.nan)


def _weight_at_thresholds(positive: Labels, score: Array, weights: Array) -> tuple[Array, Array]:
    """Weight of positive and of negative rows at each distinct score, highest first: two arrays (..., thresholds)."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    weights = weights[..., order]
    positives = np.add.reduceat(weights * positive[order], starts, axis=-1)
    return positives, np.add.reduceat(weights * ~positive[order], starts, axis=-1)


def _mean_defined(values: Array, axis: int) -> Array:
    """Mean of what is not NaN."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis), defined.sum(axis))
