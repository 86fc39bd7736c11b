"""Which rows next: samplers and other sources of batches."""

from holdfast.selection.augmented import Augmented
from holdfast.selection.samplers import (
    BalancedSampler,
    EnvironmentCyclingSampler,
    EnvironmentSampler,
    RepeatingSampler,
    Rows,
    Sampler,
    Source,
)

__all__ = [
    "Augmented",
    "BalancedSampler",
    "EnvironmentCyclingSampler",
    "EnvironmentSampler",
    "RepeatingSampler",
    "Rows",
    "Sampler",
    "Source",
]
