"""Plain training follows a color the more, the more surely it goes with the label."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.predictors import ModulePredictor
from holdfast.core.task import training_view
from holdfast.evaluations.interventions import Interventions
from holdfast.methods.erm import ERM
from holdfast.tasks.colored_digits import ColoredDigits
from holdfast.training import Budget, Trainer

STRENGTHS = (0.1, 0.5, 0.9, 0.99)


def follow_rate(strength: float, seed: int) -> float:
    """Of ERM on digits of which so many have their class's color; tested where colors are independent of the class."""
    task = ColoredDigits(strengths=(strength,), test_strength=0.1, data_seed=seed).load()
    method, trainer = ERM(), Trainer(seed=seed, budget=Budget(150))
    network = method.fit(training_view(task, method.needs(), trainer.ledger), trainer)
    evaluation = Interventions(factors=("color",), max_rows=600)
    result = evaluation.evaluate(
        ModulePredictor(network, "classification", task.classes), task, np.random.default_rng(0)
    )
    return next(m.value for m in result.measurements if m.metric == "follow rate of color")


@pytest.mark.parametrize("seed", [0, 1])
def test_follow_rate_rises_with_the_strength_of_the_shortcut(seed: int) -> None:
    rates = [follow_rate(strength, seed) for strength in STRENGTHS]
    assert np.all(np.diff(rates) > 0)
    assert rates[0] < 0.1  # a color that says nothing of the label is followed no more than by chance, one in ten
