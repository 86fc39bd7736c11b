from __future__ import annotations

import torch

from holdfast.core.ledger import Ledger
from holdfast.core.task import training_view
from holdfast.methods.erm import ERM
from holdfast.testing import toy_task
from holdfast.training import Budget, GradientStep, Trainer


def test_it_is_a_gradient_step_with_nothing_added() -> None:
    task, method = toy_task(), ERM()
    view, trainers = (
        training_view(task, method.needs(), Ledger()),
        [Trainer(seed=5, budget=Budget(10)) for _ in range(2)],
    )
    plain = trainers[0].fit(trainers[0].build(method, view), view, GradientStep()).model
    model = method.fit(view, trainers[1])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_it_goes_on_from_a_model() -> None:
    task, method = toy_task(), ERM()
    view = training_view(task, method.needs(), Ledger())
    start = method.fit(view, Trainer(budget=Budget(10)))
    trainer = Trainer(budget=Budget(10))
    before = {name: p.detach().clone() for name, p in start.named_parameters()}
    assert method.fit(view, trainer, start) is start
    assert all(torch.equal(trainer.fits["main"].weights_at(0)[name], p) for name, p in before.items())
