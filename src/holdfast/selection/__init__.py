"""Which rows next: samplers and other sources of batches."""

from holdfast.selection.augmented import Augmented
from holdfast.selection.samplers import BalancedSampler, EnvironmentSampler, Rows, Sampler, Source

__all__ = ["Augmented", "BalancedSampler", "EnvironmentSampler", "Rows", "Sampler", "Source"]
