"""Per-example losses, risks over environments, penalties."""

from holdfast.losses.adversary import EnvironmentAdversary, reversed_gradient
from holdfast.losses.alignment import CovarianceAlignment, KernelAlignment
from holdfast.losses.difficulty import LossMemory, relative_difficulty
from holdfast.losses.diversity import (
    disagreement_loss,
    dispute,
    divergence_from_prior,
    mean_mutual_information,
    mutual_information,
)
from holdfast.losses.environment_inference import inferred_environments, scale_slopes
from holdfast.losses.environments import EnvironmentLosses, environment_means
from holdfast.losses.error_sets import error_set
from holdfast.losses.gradient_agreement import GradientAlignment, GradientVariances
from holdfast.losses.penalties import InvariantRisk, Penalty, SquaredOutputs, VarianceOfRisks
from holdfast.losses.per_example import (
    Loss,
    cross_entropy,
    default_loss,
    generalized_cross_entropy,
    half_squared_error,
    squared_error,
)
from holdfast.losses.quantile import QuantileAboveMean, kernel_quantile
from holdfast.losses.risks import ExponentiatedGroups, MeanOfEnvironments, PooledMean, Risk

__all__ = [
    "CovarianceAlignment",
    "EnvironmentAdversary",
    "EnvironmentLosses",
    "ExponentiatedGroups",
    "GradientAlignment",
    "GradientVariances",
    "InvariantRisk",
    "KernelAlignment",
    "Loss",
    "LossMemory",
    "MeanOfEnvironments",
    "Penalty",
    "PooledMean",
    "QuantileAboveMean",
    "Risk",
    "SquaredOutputs",
    "VarianceOfRisks",
    "cross_entropy",
    "default_loss",
    "disagreement_loss",
    "dispute",
    "divergence_from_prior",
    "environment_means",
    "error_set",
    "generalized_cross_entropy",
    "half_squared_error",
    "inferred_environments",
    "kernel_quantile",
    "mean_mutual_information",
    "mutual_information",
    "relative_difficulty",
    "reversed_gradient",
    "scale_slopes",
    "squared_error",
]
