"""Gradients per environment, and how they agree. Usable in anybody's loop: no Task or Trainer in sight."""

from holdfast.gradients.aggregators import Aggregated, Aggregator, AndMask, Mean
from holdfast.gradients.agreement import SignAgreement, Suggestion, chance
from holdfast.gradients.and_adam import AndAdam
from holdfast.gradients.distributed import all_reduce
from holdfast.gradients.engine import GradientEngine
from holdfast.gradients.geometric_mean import GeometricMean
from holdfast.gradients.gramian import GradVac, GramianEngine, PCGrad
from holdfast.gradients.micro_batches import MicroBatches, SplitEnvironments
from holdfast.gradients.penalties import fishr, head_gradient_variances, inter_environment_alignment
from holdfast.gradients.reference import ReferenceEngine
from holdfast.gradients.sand_mask import SandMask
from holdfast.gradients.statistics import Stat, Stats
from holdfast.gradients.torchjd import torchjd_weighting

__all__ = [
    "Aggregated",
    "Aggregator",
    "AndAdam",
    "AndMask",
    "GeometricMean",
    "GradVac",
    "GradientEngine",
    "GramianEngine",
    "Mean",
    "MicroBatches",
    "PCGrad",
    "ReferenceEngine",
    "SandMask",
    "SignAgreement",
    "SplitEnvironments",
    "Stat",
    "Stats",
    "Suggestion",
    "all_reduce",
    "chance",
    "fishr",
    "head_gradient_variances",
    "inter_environment_alignment",
    "torchjd_weighting",
]
