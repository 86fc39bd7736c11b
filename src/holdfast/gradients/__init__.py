"""Gradients per environment, and how they agree. Usable in anybody's loop: no Task or Trainer in sight."""

from holdfast.gradients.aggregators import Aggregated, Aggregator, AndMask, Mean
from holdfast.gradients.engine import GradientEngine
from holdfast.gradients.reference import ReferenceEngine
from holdfast.gradients.statistics import Stat, Stats

__all__ = ["Aggregated", "Aggregator", "AndMask", "GradientEngine", "Mean", "ReferenceEngine", "Stat", "Stats"]
