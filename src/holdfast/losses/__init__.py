"""Per-example losses, risks over environments, penalties."""

from holdfast.losses.environments import EnvironmentLosses, environment_means
from holdfast.losses.penalties import InvariantRisk, Penalty, VarianceOfRisks
from holdfast.losses.per_example import Loss, cross_entropy, default_loss, half_squared_error, squared_error
from holdfast.losses.risks import ExponentiatedGroups, MeanOfEnvironments, PooledMean, Risk

__all__ = [
    "EnvironmentLosses",
    "ExponentiatedGroups",
    "InvariantRisk",
    "Loss",
    "MeanOfEnvironments",
    "Penalty",
    "PooledMean",
    "Risk",
    "VarianceOfRisks",
    "cross_entropy",
    "default_loss",
    "environment_means",
    "half_squared_error",
    "squared_error",
]
