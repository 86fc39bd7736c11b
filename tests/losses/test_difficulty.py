"""Memories of losses and relative difficulty, against loops and closed forms."""

from __future__ import annotations

import pytest
import torch

from holdfast.losses import LossMemory, relative_difficulty


def test_the_memory_is_an_average_that_begins_with_the_first_loss_and_shares_are_of_the_classs_largest() -> None:
    rng = torch.Generator().manual_seed(0)
    index = torch.tensor([4, 9, 0, 7, 3])
    labels = torch.tensor([1, 0, 1, 0, 2])
    memory = LossMemory(index, labels, memory=0.6)
    expected: dict[int, float] = {}
    for _ in range(20):
        rows = torch.randperm(5, generator=rng)[:3]
        losses = torch.rand(3, generator=rng)
        memory.update(index[rows], losses)
        for row, loss in zip(rows.tolist(), losses.tolist(), strict=True):
            expected[row] = 0.6 * expected[row] + 0.4 * loss if row in expected else loss
    assert len(expected) == 5
    largest = {c: max(v for row, v in expected.items() if labels[row] == c) for c in (0, 1, 2)}
    shares = [expected[row] / largest[int(labels[row])] for row in range(5)]
    assert memory.shares(index).tolist() == pytest.approx(shares, rel=1e-5)


def test_a_quantile_does_not_heed_an_outlier() -> None:
    rng = torch.Generator().manual_seed(0)
    labels, losses = torch.arange(40) % 2, torch.rand(40, generator=rng) + 0.1
    losses[6] = 1e6
    memory = LossMemory(torch.arange(41), torch.cat([labels, torch.tensor([0])]), quantile=0.75)
    memory.update(torch.arange(40), losses)
    scale = torch.stack([losses[labels == code].quantile(0.75) for code in (0, 1)])[labels]
    assert memory.shares(torch.arange(40)).tolist() == pytest.approx((losses / scale).clamp_max(1).tolist())
    assert memory.shares(torch.tensor([40])).isnan()
    largest = LossMemory(torch.arange(40), labels)
    largest.update(torch.arange(40), losses)
    assert largest.shares(torch.arange(40))[labels == 0].sort().values[-2] < 1e-5


def test_losses_of_zero_and_rows_never_seen() -> None:
    memory = LossMemory(torch.arange(3), torch.tensor([0, 0, 0]))
    memory.update(torch.tensor([0, 1]), torch.zeros(2))
    assert memory.shares(torch.tensor([0, 1])).tolist() == [0, 0]
    assert memory.shares(torch.tensor([2])).isnan().all()


def test_a_memory_takes_no_gradient_and_goes_on_from_its_state() -> None:
    memory = LossMemory(torch.arange(2), torch.tensor([0, 1]))
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    memory.update(torch.arange(2), losses)
    assert not memory.shares(torch.arange(2)).requires_grad
    other = LossMemory(torch.arange(2), torch.tensor([0, 1]))
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.averages.values, memory.averages.values)


def test_relative_difficulty() -> None:
    biased, other = torch.tensor([3.0, 0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert relative_difficulty(biased, other).tolist() == pytest.approx([0.75, 0.0, 1.0, 0.5])
