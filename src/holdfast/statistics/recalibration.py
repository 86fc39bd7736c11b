"""By what slope and constants log-probabilities would have to be changed to fit the labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from holdfast.statistics.association import Effects, by_unit
from holdfast.statistics.means import Array, Labels, ratio

STEPS = 50
LARGEST_SLOPE = 30.0
LEAST_INFORMATION = 1e-6
LEAST_LOG_PROBABILITY = -36.0


def recalibration_slope(y: Labels, log_p: Array, weights: Array, units: ArrayLike | None = None) -> Effects:
    """The slope s of maximum likelihood under softmax(s·log p + b), with its sandwich error over units.

    One for a model whose odds are as they say up to a constant for each class; below one it is too extreme, above one
    too timid. D. Cox, *Two further applications of a model for binary regression*, 1958. Classes without rows are left
    out.

    Args:
        y: (N,) classes.
        log_p: (N, C) log-probabilities, finite or −∞.
        weights: (N,) non-negative.
        units: (N,), or None.

    Returns:
        One effect; NaN where one class occurs, the odds are the same for all rows, or they separate the classes.

    >>> y, z = np.array([0, 0, 0, 1, 0, 1, 1, 1]), np.repeat([-1.0, 1.0], 4) * np.log(9)
    >>> log_p = -np.logaddexp(0, np.stack([z, -z], axis=1))
    >>> round(float(recalibration_slope(y, log_p, np.ones(8)).value[0]), 4)  # odds of 3, where 9 are said
    0.5
    """
    kept = weights > 0
    classes, label = np.unique(y[kept], return_inverse=True)
    unknown = Effects(*(np.full(1, np.nan) for _ in range(3)))
    if len(classes) < 2:
        return unknown
    z, weights = np.maximum(log_p[kept][:, classes], LEAST_LOG_PROBABILITY), weights[kept] / weights[kept].mean()
    z = z - z.mean(1, keepdims=True)
    units = None if units is None else np.asarray(units)[kept]
    if float(weights @ np.var(z - z.mean(0), axis=1)) < 1e-9 * len(z):
        return unknown
    parameters = _fitted(z, label, weights)
    if parameters is None or abs(parameters[0]) > LARGEST_SLOPE:
        return unknown
    _, score, hessian = _likelihood(parameters, z, label, weights)
    if hessian[0, 0] < LEAST_INFORMATION * len(z):
        return unknown
    influence = by_unit(np.asarray(np.linalg.solve(hessian, score.T).T[:, :1]), units)[:, 0]
    spread = by_unit(_information(parameters, z, weights)[:, None], units)[:, 0]
    informative = ratio([spread.sum() ** 2], [(spread**2).sum()])
    error = np.sqrt([(influence**2).sum()]) * np.sqrt(ratio(informative, np.maximum(informative - 1, 0)))
    return Effects(parameters[:1], error, informative)


def _fitted(z: Array, label: Labels, weights: Array) -> Array | None:
    """Slope and constants by Newton's method with halved steps; None where it does not end."""
    parameters = np.concatenate([[1.0], np.zeros(z.shape[1] - 1)])
    for _ in range(STEPS):
        value, score, hessian = _likelihood(parameters, z, label, weights)
        step = np.linalg.solve(hessian, score.sum(0))
        if np.abs(step).max() < 1e-8:
            return parameters
        halves = (parameters + step * 0.5**k for k in range(20))
        better = (there for there in halves if _likelihood(there, z, label, weights)[0] > value)
        following = next(better, None)
        if following is None:
            return parameters
        parameters = following
    return None


def _probabilities(parameters: Array, z: Array) -> Array:
    """(N, C) log-probabilities under slope and constants; the first class's constant is zero."""
    logits = parameters[0] * z + np.concatenate([[0.0], parameters[1:]])
    highest = logits.max(1, keepdims=True)
    return np.asarray(logits - highest - np.log(np.exp(logits - highest).sum(1, keepdims=True)))


def _likelihood(parameters: Array, z: Array, label: Labels, weights: Array) -> tuple[float, Array, Array]:
    """Log-likelihood, each row's score (N, C) and the information (C, C)."""
    log_p = _probabilities(parameters, z)
    rows, p = np.arange(len(z)), np.exp(log_p)
    centred = z - (p * z).sum(1, keepdims=True)
    indicator = np.zeros_like(p)
    indicator[rows, label] = 1.0
    score = weights[:, None] * np.column_stack([centred[rows, label], (indicator - p)[:, 1:]])
    weighted = weights[:, None] * p
    hessian = np.empty((z.shape[1], z.shape[1]))
    hessian[0, 0] = (weighted * centred**2).sum()
    hessian[0, 1:] = hessian[1:, 0] = (weighted * centred).sum(0)[1:]
    hessian[1:, 1:] = (np.diag(weighted.sum(0)) - weighted.T @ p)[1:, 1:]
    value = float(weights @ log_p[rows, label])
    return value, score, hessian + 1e-9 * len(z) * np.eye(len(hessian))


def _information(parameters: Array, z: Array, weights: Array) -> Array:
    p = np.exp(_probabilities(parameters, z))
    return np.asarray(weights * ((p * z**2).sum(1) - (p * z).sum(1) ** 2))
