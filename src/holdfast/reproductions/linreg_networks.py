"""Linear models of the four rows, which claims on gradients that agree share."""

from __future__ import annotations

from torch import nn

from holdfast.core.ledger import Ledger
from holdfast.core.task import Needs, TaskData, training_view
from holdfast.gradients import Aggregator
from holdfast.losses import MeanOfEnvironments, half_squared_error
from holdfast.tasks.linreg_patchwork import LinregPatchwork
from holdfast.training import SGD, Budget, GradientStep, Trainer


def trained(aggregator: Aggregator, seed: int, steps: int, environments: int) -> tuple[nn.Module, TaskData]:
    """A model trained on the first so many of the four rows as the notebook linear_regression_ilc does.

    Args:
        aggregator: Makes one gradient of the environments'.
        seed: Of the initial weights.
        steps: Updates.
        environments: How many rows are for training, 1 to 4; the others are the task's test.
    """
    task = LinregPatchwork(train_environments=environments).load()
    view = training_view(task, Needs(), Ledger())
    trainer = Trainer(seed=seed, budget=Budget(steps), batch_size=len(view.train))
    with trainer.randomness("init"):
        model = view.model.build(view.input_shape, view.outputs)
    step = GradientStep(
        loss=half_squared_error,
        risk=MeanOfEnvironments(),
        aggregator=aggregator,
        optimizer=SGD(lr=0.3, weight_decay=0.01, decay=0.9995),
    )
    trainer.fit(model, view, step)
    return model, task
