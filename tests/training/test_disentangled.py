"""The step of two streams: its losses against those of the paper, written out row by row."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from holdfast.core.data import Batch, Column, Dataset
from holdfast.core.task import TrainingView
from holdfast.heads.two_streams import TwoStreams
from holdfast.losses import cross_entropy, generalized_cross_entropy
from holdfast.models.mlp import MLP
from holdfast.training import SGD, DisentangledStep, Trainer, disentangled

N, Q, AMPLIFY, SWAP, LR = 9, 0.7, 3.0, 0.5, 0.1


def view() -> TrainingView:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.randn(N, 4, generator=rng), torch.arange(N) % 3
    rows = Dataset(x, y, Column.constant(N), index=torch.arange(N) + 5)
    return TrainingView("classification", ("a", "b", "c"), 3, (4,), MLP(hidden=(6,)), {"train": rows})


def streams() -> TwoStreams:
    torch.manual_seed(0)
    return TwoStreams(*(view().model.build((4,), 3) for _ in range(2)))


def batch(weight: Tensor | None = None) -> Batch:
    rows = view().train.batch(torch.arange(N))
    return Batch(rows.x, rows.y, rows.environment, {}, weight, rows.index)


def updated(rows: Batch, progress: float) -> TwoStreams:
    network = streams()
    step = DisentangledStep(q=Q, memory=0.5, amplify=AMPLIFY, swap=SWAP, swap_from=0.4, optimizer=SGD(lr=LR))
    optimizers = step.setup({"model": network}, view(), Trainer())
    step({"model": network}, rows, optimizers, progress)
    return network


def difficulty(main: Tensor, biased: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """Relative difficulty after the first update: each loss as a share of the largest in its class."""
    shares = [x / torch.stack([x[(y == c) & (w > 0)].max() for c in range(3)])[y] for x in (biased, main)]
    return shares[0] / (shares[0] + shares[1])


@pytest.mark.parametrize("progress", [0.39, 0.4], ids=["apart", "swapped"])
@pytest.mark.parametrize("weight", [None, torch.arange(N) / 4], ids=["equal", "weighted"])
def test_an_update_descends_the_losses_of_the_paper(
    weight: Tensor | None, progress: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = batch(weight)
    other = torch.tensor([0, 2, 3, 1, 5, 6, 7, 8, 4])  # no involution; the row of weight 0 stays
    monkeypatch.setattr(disentangled, "shuffled", lambda batch: other)
    w = torch.ones(N) if weight is None else weight
    before, y = streams(), rows.labels
    z, b = before.features(rows.x)
    main, biased = before.main_logits(z, b), before.biased_logits(z, b)
    W = difficulty(cross_entropy(main, y).detach(), cross_entropy(biased, y).detach(), y, w)
    loss = (w * (W * cross_entropy(main, y) + AMPLIFY * generalized_cross_entropy(biased, y, Q))).sum()
    if progress >= 0.4:
        for i, j in enumerate(other.tolist()):  # row i with the biased features of row j
            mixed = before.main_logits(z[[i]], b[[j]]), before.biased_logits(z[[i]], b[[j]])
            loss = loss + SWAP * (w[i] * W[i] * cross_entropy(mixed[0], y[[i]])).sum()
            loss = loss + SWAP * AMPLIFY * (w[j] * generalized_cross_entropy(mixed[1], y[[j]], Q)).sum()
    gradients = torch.autograd.grad(loss / w.sum(), list(before.parameters()))
    after = updated(rows, progress)
    for p, old, g in zip(after.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(p, old - LR * g)


def test_swapping_permutes_the_rows_that_count() -> None:
    torch.manual_seed(0)
    weight = torch.tensor([1.0, 0, 1, 1, 0, 2, 1, 1, 1])
    draws = [disentangled.shuffled(batch(weight)) for _ in range(20)]
    for order in draws:
        assert torch.equal(order.sort().values, torch.arange(N))
        assert order[1] == 1
        assert order[4] == 4
    assert len({tuple(order.tolist()) for order in draws}) > 10
    assert not torch.equal(disentangled.shuffled(batch()), torch.arange(N))


def test_rows_of_no_weight_change_nothing() -> None:
    weight = torch.ones(N)
    weight[4] = 0
    rows = batch(weight)
    found = []
    for value in (0.0, 50.0):
        changed = copy.copy(rows.x)
        assert isinstance(changed, Tensor)
        changed = changed.clone()
        changed[4] = value
        torch.manual_seed(3)
        found.append(updated(Batch(changed, rows.y, rows.environment, {}, weight, rows.index), 1.0))
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)
