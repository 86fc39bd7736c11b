"""Which rows next: samplers and other sources of batches."""

from holdfast.selection.samplers import BalancedSampler, EnvironmentSampler, Rows, Sampler, Source

__all__ = ["BalancedSampler", "EnvironmentSampler", "Rows", "Sampler", "Source"]
