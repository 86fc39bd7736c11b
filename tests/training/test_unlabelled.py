"""Penalties on rows without labels: which rows they see, that they train the model once, and that they resume."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.data import Batch
from holdfast.core.ledger import Ledger
from holdfast.core.task import Needs, TrainingView, training_view
from holdfast.testing import toy_task
from holdfast.training import SGD, Budget, GradientStep, Trainer, UnlabelledPenalty, unlabelled_rows


def view() -> TrainingView:
    return training_view(toy_task(), Needs(roles=("train", "unlabelled")), Ledger())


def mean_square(outputs: Tensor, batch: Batch) -> Tensor:
    assert batch.y is None
    return outputs.square().mean()


def test_batches_are_of_the_unlabelled_rows() -> None:
    source = unlabelled_rows(view(), Trainer(batch_size=12), "main")
    seen = torch.cat([source.next_batch().index for _ in range(10)])
    assert set(seen.tolist()) == set(view().role("unlabelled").index.tolist())


def test_one_update_is_that_of_the_sum_of_both_losses() -> None:
    torch.manual_seed(0)
    network, twin = nn.Linear(6, 3), nn.Linear(6, 3)
    twin.load_state_dict(network.state_dict())
    trainer = Trainer(batch_size=12, budget=Budget(1))
    penalty = UnlabelledPenalty(network, unlabelled_rows(view(), trainer, "main"), mean_square)
    assert list(penalty.parameters()) == []
    trainer.fit(network, view(), GradientStep(penalties=[(0.5, penalty)], optimizer=SGD(lr=0.1)))
    again = Trainer(batch_size=12)
    labelled = again.source(view(), "main").next_batch()
    other = unlabelled_rows(view(), again, "main").next_batch()
    loss = nn.functional.cross_entropy(twin(labelled.x), labelled.labels) + 0.5 * twin(other.x).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    for own, p in zip(network.parameters(), twin.parameters(), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(own.detach(), p.detach() - 0.1 * p.grad)


def test_the_place_of_the_source_is_in_the_state_of_the_step() -> None:
    network = nn.Linear(6, 3)
    steps = [
        GradientStep(
            penalties=[
                (1.0, UnlabelledPenalty(network, unlabelled_rows(view(), Trainer(batch_size=6), "main"), mean_square))
            ]
        )
        for _ in range(2)
    ]
    first, second = (step.penalty_modules[0] for step in steps)
    for _ in range(3):
        first.source.next_batch()  # type: ignore[union-attr, operator]
    steps[1].load_state_dict(steps[0].state_dict())
    expected = first.source.next_batch().index  # type: ignore[union-attr, operator]
    assert torch.equal(second.source.next_batch().index, expected)  # type: ignore[union-attr, operator]
