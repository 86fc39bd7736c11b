"""Gradients per environment, and how they agree. Usable in anybody's loop: no Task or Trainer in sight."""

from holdfast.gradients.aggregators import Aggregated, Aggregator, AndMask, Mean
from holdfast.gradients.and_adam import AndAdam
from holdfast.gradients.engine import GradientEngine
from holdfast.gradients.geometric_mean import GeometricMean
from holdfast.gradients.reference import ReferenceEngine
from holdfast.gradients.sand_mask import SandMask
from holdfast.gradients.statistics import Stat, Stats

__all__ = [
    "Aggregated",
    "Aggregator",
    "AndAdam",
    "AndMask",
    "GeometricMean",
    "GradientEngine",
    "Mean",
    "ReferenceEngine",
    "SandMask",
    "Stat",
    "Stats",
]
