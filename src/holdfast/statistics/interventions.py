"""How much a model relies on a factor, from what it says of rows as they are and under each value of the factor.

Shapes: N rows, V values of the factor, C classes. ``own`` (N, C) is said of the rows as they are, ``changed``
(V, N, C) of the same rows under do(factor ← v), and ``values`` (N,) are the rows' own values, codes in [0, V).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.statistics.classification import area_under_roc, over_classes
from holdfast.statistics.means import Array, ratio, weighted_mean
from holdfast.statistics.resampling import multiplicities

Codes = NDArray[Any]

_area = over_classes(area_under_roc)


@dataclass(frozen=True)
class Quotient:
    """An estimate with its standard error over units.

    Attributes:
        value: NaN where there is nothing to divide by.
        error: Its standard error.
        units: How many units there are.
    """

    value: float
    error: float
    units: int


def mean_effect(own: Array, changed: Array, values: Codes) -> Array:
    """(N,) the pairwise effect: mean total variation between p(·|x) and p(·|do(k ← v)) over the values v ≠ z.

    The row's own value is left out, so that effects of factors with few and with many values compare.

    >>> own, changed = np.array([[1.0, 0.0]]), np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> mean_effect(own, changed, np.array([0])).tolist()
    [1.0]
    """
    return _over_others(np.abs(changed - own).sum(axis=2) / 2, values)


def largest_effect(own: Array, changed: Array) -> Array:
    """(N,) the largest total variation between p(·|x) and p(·|do(k ← v)) over the values v.

    >>> own, changed = np.array([[1.0, 0.0]]), np.array([[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 1.0]]])
    >>> largest_effect(own, changed).tolist()
    [1.0]
    """
    return np.asarray((np.abs(changed - own).sum(axis=2) / 2).max(axis=0))


def flip_rates(own: Array, changed: Array, values: Codes) -> Array:
    """(N,) the share of the other values of the factor under which the predicted class is another."""
    return _over_others((changed.argmax(axis=2) != own.argmax(axis=1)).astype(float), values)


def counterfactual_accuracy(changed: Array, wanted: Codes, values: Codes) -> Array:
    """(N,) the share of the other values under which the prediction is right.

    Args:
        changed: (V, N, C).
        wanted: The right class: (N,) where the label stays, (V, N) where it follows the factor.
        values: (N,).
    """
    return _over_others((changed.argmax(axis=2) == wanted).astype(float), values)


def value_shares(values: Codes, y: Codes, weights: Array, classes: int, count: int) -> tuple[Array, Array]:
    """How frequent each value is in each class, (C, V), and in all, (V,); a class without a row is as all are.

    Of the training rows, in most cases: the first is how the factor goes with the label, the second what is left
    once it no longer does.

    >>> tied, free = value_shares(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]), np.ones(4), 2, 2)
    >>> tied.tolist(), free.tolist()
    ([[0.5, 0.5], [0.0, 1.0]], [0.25, 0.75])
    """
    table = np.zeros((classes, count))
    np.add.at(table, (y, values), weights)
    free = table.sum(axis=0) / table.sum()
    of_class = table.sum(axis=1, keepdims=True)
    return np.where(of_class > 0, ratio(table, of_class), free), free


def expected_accuracy(changed: Array, y: Codes, shares: Array) -> Array:
    """(N,) the chance that a row is right when its factor gets a random value: the mean over all draws.

    Where the draw is the same for every class the factor is randomised. A random value is the row's own, or goes with
    the same class, now and then: what that gives is part of the mean, and is what chance gives everybody.

    Args:
        changed: (V, N, C).
        y: (N,) classes.
        shares: (V, N) the chance of each value for each row, or (V, 1) for all.
    """
    return np.asarray((shares * (changed.argmax(axis=2) == y)).sum(axis=0))


def expected_area(log_changed: Array, y: Codes, shares: Array, weights: Array) -> Array:
    """(...,) area under the ROC curve when rows get random values of the factor; of each class against the rest.

    Where the draw is the same for every class it is the S-randomised AUC of H. Shah, K. Tamuly, A. Raghunathan,
    P. Jain, P. Netrapalli, *The pitfalls of simplicity bias in neural networks*, NeurIPS 2020, arXiv:2006.07710: they
    take one permutation, here every row counts under each value, which is the mean over all draws.

    Args:
        log_changed: (V, N, C) log-probabilities.
        y: (N,) classes.
        shares: (V, N) the chance of each value for each row, or (V, 1) for all.
        weights: (..., N).
    """
    count, rows, classes = log_changed.shape
    spread = (shares * weights[..., None, :]).reshape(*weights.shape[:-1], count * rows)
    return np.asarray(_area(np.tile(y, count), log_changed.reshape(-1, classes), spread))


def balanced(y: Codes, weights: Array) -> Array:
    """(N,) weights under which every class that occurs has the same weight, one in all."""
    present, place = np.unique(y, return_inverse=True)
    return np.asarray(ratio(weights, np.bincount(place, weights)[place]) / len(present))


def ratio_of_means(numerator: Array, denominator: Array, weights: Array, units: NDArray[np.intp]) -> Quotient:
    """The quotient of two means over the same rows, with its linearised standard error over units.

    Args:
        numerator: (N,).
        denominator: (N,).
        weights: (N,).
        units: (N,) codes.

    >>> ratio_of_means(np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.ones(2), np.arange(2))
    Quotient(value=0.5, error=0.0, units=2)
    """
    share = weights / weights.sum()
    below = float(share @ denominator)
    value = float(ratio(share @ numerator, below))
    residual = share * (numerator - value * denominator) / (below or np.nan)
    sums = np.bincount(np.unique(units, return_inverse=True)[1], residual)
    return Quotient(value, float(np.sqrt(sums @ sums * len(sums) / max(len(sums) - 1, 1))), len(sums))


def accuracy_reliance(
    changed: Array, y: Codes, tied: Array, free: Array, weights: Array, units: NDArray[np.intp]
) -> tuple[Quotient, Quotient]:
    """How far m is above chance, and the reliance (m − m_rand) / (m − chance).

    It is 1 for a model that reads the factor alone, 0 for one that does not read it. m is balanced accuracy with the
    factor tied to the label, m_rand with the factor free of it. Balancing makes chance exactly one over the number of
    classes that occur, whatever their frequencies and whatever goes with each value. It means little where m is close
    to chance.

    Args:
        changed: (V, N, C).
        y: (N,) classes.
        tied: (C, V) how frequent each value is in each class, as :func:`value_shares` gives it.
        free: (V,) how frequent it is in all.
        weights: (N,) row weights.
        units: (N,) codes.
    """
    even = balanced(y, weights)
    whole = expected_accuracy(changed, y, tied[y].T)
    beyond = whole - 1 / len(np.unique(y))
    lost = whole - expected_accuracy(changed, y, free[:, None])
    return ratio_of_means(beyond, np.ones(len(y)), even, units), ratio_of_means(lost, beyond, even, units)


def area_reliance(
    log_changed: Array,
    y: Codes,
    tied: Array,
    free: Array,
    weights: Array,
    units: NDArray[np.intp],
    rng: np.random.Generator,
    replicates: int = 100,
) -> tuple[Quotient, Quotient]:
    """The S-randomised AUC, and (m − m_rand) / (m − ½) where m is the AUC; errors by the bootstrap of units.

    AUC does not see a shift of all scores, accuracy does: look at both. The arguments are those of
    :func:`accuracy_reliance`.
    """

    def both(w: Array) -> tuple[Array, Array]:
        whole = expected_area(log_changed, y, tied[y].T, w)
        randomised = expected_area(log_changed, y, free[:, None], w)
        return randomised, ratio(whole - randomised, whole - 0.5)

    first, second = _bootstrapped(both, weights, units, rng, replicates)
    return first, second


def area_alone(
    log_changed: Array,
    y: Codes,
    tied: Array,
    weights: Array,
    units: NDArray[np.intp],
    rng: np.random.Generator,
    replicates: int = 100,
) -> Quotient:
    """The AUC with the factor tied to the label and all others random: what the factor alone gives.

    It is the S-randomised AUC of the set of all other factors, and one half for a model that does not read this one.

    Args:
        log_changed: (V, N, C) log-probabilities under each value, every other factor that of a random row.
        y: (N,) classes.
        tied: (C, V) how frequent each value is in each class.
        weights: (N,) row weights.
        units: (N,) codes.
        rng: Of the bootstrap.
        replicates: Of the bootstrap.

    >>> says = np.log(np.array([[0.9, 0.1], [0.1, 0.9]]))[:, None].repeat(4, axis=1)  # of each value, in every row
    >>> y, tied = np.array([0, 0, 1, 1]), np.eye(2)
    >>> area_alone(says, y, tied, np.ones(4), np.arange(4), np.random.default_rng(0)).value
    1.0
    """

    def alone(w: Array) -> tuple[Array, ...]:
        return (expected_area(log_changed, y, tied[y].T, w),)

    return _bootstrapped(alone, weights, units, rng, replicates)[0]


def _bootstrapped(
    statistics: Callable[[Array], tuple[Array, ...]],
    weights: Array,
    units: NDArray[np.intp],
    rng: np.random.Generator,
    replicates: int,
) -> list[Quotient]:
    """Functions of (..., N) weights, each with its standard error over units drawn with replacement."""
    drawn = [statistics(draws * weights) for draws in multiplicities(units, replicates, rng)]
    errors = [np.nanstd(np.concatenate(values), ddof=1) for values in zip(*drawn, strict=True)]
    n_units = len(np.unique(units))
    return [Quotient(float(v), float(e), n_units) for v, e in zip(statistics(weights), errors, strict=True)]


@dataclass(frozen=True)
class Following:
    """Which rows a model predicts after a factor, and which after the label, where the two disagree.

    Attributes:
        conflicting: (N,) booleans: the factor's value goes with another class than the label.
        follows: (N,) booleans: the class predicted is the one that the value goes with.
        right: (N,) booleans: it is the label.
    """

    conflicting: Codes
    follows: Codes
    right: Codes

    @staticmethod
    def of(predicted: Codes, y: Codes, goes_with: Codes) -> Following:
        """From (N,) predicted classes, labels, and the classes that the rows' values go with, −1 for none.

        >>> found = Following.of(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0, 1, 0]))
        >>> found.follow_rate(np.ones(3)), found.preference(np.ones(3))
        (0.5, 0.5)
        """
        return Following((goes_with != y) & (goes_with >= 0), predicted == goes_with, predicted == y)

    def follow_rate(self, weights: Array) -> float:
        """P(pred = a(z) | a(z) ≠ y); NaN without conflicting rows."""
        return float(weighted_mean(self.follows.astype(float), weights * self.conflicting))

    def preference(self, weights: Array) -> float:
        """The share follow / (follow + accuracy) on conflicting rows, the cue-conflict bias; NaN where neither occurs.

        R. Geirhos, P. Rubisch, C. Michaelis, M. Bethge, F. Wichmann, W. Brendel, *ImageNet-trained CNNs are biased
        towards texture; increasing shape bias improves accuracy and robustness*, ICLR 2019, arXiv:1811.12231.
        """
        return float(weighted_mean(self.follows.astype(float), weights * self.decided))

    @property
    def decided(self) -> Codes:
        """(N,) booleans: conflicting rows whose prediction is either of the two classes."""
        return self.conflicting & (self.follows | self.right)


def _over_others(numbers: Array, values: Codes) -> Array:
    """(V, N) numbers to their (N,) means over the values that are not the row's own; NaN where there is no other."""
    other = np.arange(len(numbers))[:, None] != values
    return np.asarray(ratio(np.where(other, numbers, 0.0).sum(axis=0), other.sum(axis=0)))
