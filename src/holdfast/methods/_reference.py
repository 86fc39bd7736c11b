"""A first network that other stages of a method look at."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from holdfast.core.method import Method
from holdfast.core.predictors import forward
from holdfast.core.task import TrainingView
from holdfast.training import GradientStep, Optimizer, Trainer


def outputs_of_reference(
    method: Method, view: TrainingView, trainer: Trainer, model: nn.Module | None, part: float, optimizer: Optimizer
) -> Tensor:
    """(N, C) what a network says of the training rows after ordinary training with a part of the budget.

    Args:
        method: Makes the architecture.
        view: Its training rows.
        trainer: Trains it in a stage of its own.
        model: Where it starts; None for fresh weights.
        part: Of the budget, in (0, 1].
        optimizer: The optimizer.
    """
    with trainer.randomness("reference"):
        network = method.build(view, base=copy.deepcopy(model))
    step = GradientStep(optimizer=optimizer)
    reference = trainer.fit(network, view, step, stage="reference", budget=trainer.budget.part(part)).model
    trainer.ledger.forwards += len(view.train)
    return forward(reference, view.train.to("cpu", trainer.dtype))
