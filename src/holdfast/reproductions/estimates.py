"""Figures of a claim over seeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from holdfast.core.reproduction import Estimate
from holdfast.statistics import mean_t


def estimated(values: ArrayLike) -> Estimate:
    """The mean over (N,) seeds, with its interval by Student's t.

    >>> estimated([1.0, 3.0]).value
    2.0
    """
    found = np.asarray(values, dtype=np.float64)
    interval = mean_t(found)
    return Estimate(float(found.mean()), interval.low, interval.high, len(found))
