"""How far confidence lies from accuracy, without the upward bias of small bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.statistics.classification import correct
from holdfast.statistics.means import Array, Labels

MAX_BINS = 15
ROWS_PER_BIN = 10


def calibration_error(y: Labels, log_p: Array, weights: Array) -> Array:
    """Root of :func:`squared_calibration_error`, or zero where that is negative: in probability, 0..1."""
    return np.asarray(max(squared_calibration_error(y, log_p, weights), 0.0) ** 0.5)


def squared_calibration_error(y: Labels, log_p: Array, weights: Array) -> float:
    """Unbiased estimate of the mean squared gap between confidence and accuracy over bins; may be negative.

    Rows are sorted by the probability of the predicted class into at most 15 bins of equal mass, of ten rows or more.
    The plain estimate sums, over bins, mass × (mean accuracy − mean confidence)². It is biased up, because the means
    are noisy: a perfectly calibrated model looks miscalibrated on few rows. That noise, the variance of
    (correct − confidence) within the bin over n − 1, is subtracted. A. Kumar, P. Liang, T. Ma, *Verified uncertainty
    calibration*, NeurIPS 2019, arXiv:1909.10155, who take confidences that are constant within a bin, and so the
    variance of accuracy; that of the difference is unbiased for any confidences. With weights, n is Kish's effective
    number (Σw)²/Σw², so that the scale of weights does not matter and a row of weight 2 is not two independent rows.
    Gaps that cancel within a bin are not seen.

    Args:
        y: Labels (N,).
        log_p: Log-probabilities (N, C).
        weights: Positive row weights (N,).

    >>> y, log_p = np.array([0, 1] * 50), np.log([[0.9, 0.1]] * 100)
    >>> round(squared_calibration_error(y, log_p, np.ones(100)), 4)  # (0.9 − 0.5)² − 0.25/99
    0.1575
    """
    confidence = np.exp(log_p.max(1))
    gap = correct(y, log_p) - confidence
    bins = _equal_mass_bins(confidence, weights)
    mass = np.bincount(bins, weights)
    mean = np.bincount(bins, weights * gap) / mass
    variance = np.bincount(bins, weights * (gap - mean[bins]) ** 2) / mass
    n = mass**2 / np.bincount(bins, weights**2)
    repeated = n > 1 + 1e-9  # from one row nothing unbiased can be said
    unbiased = np.where(repeated, mean**2 - variance / np.where(repeated, n - 1, 1.0), 0.0)
    return float((mass * unbiased).sum() / mass.sum())


def _equal_mass_bins(values: Array, weights: Array) -> NDArray[np.intp]:
    """Index (N,) of each row's bin, without gaps; equal values share a bin."""
    effective_rows = weights.sum() ** 2 / (weights**2).sum()
    n_bins = np.clip(effective_rows // ROWS_PER_BIN, 1, MAX_BINS)
    _, tie = np.unique(values, return_inverse=True)
    mass = np.bincount(tie, weights)
    middle = (mass.cumsum() - mass / 2) / mass.sum()
    return np.unique((middle * n_bins).astype(np.intp)[tie], return_inverse=True)[1]
