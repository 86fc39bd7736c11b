"""What a task on labels of one's own takes from them: the scale of targets, and a network in their units."""

from __future__ import annotations

from torch import Tensor

from holdfast.core.task import Kind, Model
from holdfast.models.mlp import MLP
from holdfast.models.rescaled import Rescaled


def usual_model(kind: Kind, label: Tensor, network: Model = MLP()) -> Model:  # noqa: B008  # frozen
    """A small network; for regression one whose last layer holds the mean and scale of the training targets.

    Args:
        kind: Of the task.
        label: (N,) of the training rows.
        network: The network.
    """
    if kind == "classification":
        return network
    return Rescaled(shift=label.double().mean().item(), scale=target_scale(kind, label)).replaced_by(network)


def target_scale(kind: Kind, label: Tensor) -> float:
    """Standard deviation of the training targets (N,); 1 for classes and constants."""
    return 1.0 if kind == "classification" else label.double().std(correction=0).item() or 1.0
