"""Figures of a claim over seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from holdfast.core.reproduction import Estimate, Finding
from holdfast.statistics import mean_t


def estimated(values: ArrayLike) -> Estimate:
    """The mean over (N,) seeds, with its interval by Student's t.

    >>> estimated([1.0, 3.0]).value
    2.0
    """
    found = np.asarray(values, dtype=np.float64)
    interval = mean_t(found)
    return Estimate(float(found.mean()), interval.low, interval.high, len(found))


def decided(conditions: Mapping[str, bool], measured: Mapping[str, Estimate]) -> Finding:
    """A claim that holds where every condition is met; the reason names those that are not, or else all of them.

    >>> decided({"x ≥ 1": True, "y ≥ 2": False}, {}).reason
    'y ≥ 2'
    """
    broken = [text for text, met in conditions.items() if not met]
    return Finding("fails" if broken else "holds", measured, "; ".join(broken or conditions))
