"""Mixup: who is mixed with whom, and what an update does with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from holdfast.core.data import Batch, Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.task import TrainingView
from holdfast.models.linear import Linear
from holdfast.training import SGD, GradientStep, MixupStep, Trainer
from holdfast.training.mixup import partners


def batch(environment: list[int], weight: list[float] | None = None) -> Batch:
    n = len(environment)
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    w = None if weight is None else torch.tensor(weight)
    return Batch(x, torch.arange(n) % 3, torch.tensor(environment), {}, w, torch.arange(n))


def test_partners_are_of_one_other_environment() -> None:
    rows = batch([4, 0, 0, 4, 2, 2, 2, 0, 4])
    met = set()
    for _ in range(50):
        other, share = partners(rows, 0.5)
        for code in (0, 2, 4):
            own = rows.environment == code
            (partner,) = rows.environment[other[own]].unique().tolist()
            assert partner != code
            assert len(share[own].unique()) == 1
            met |= {(code, int(row)) for row in other[own]}
    assert met == {(code, row) for code in (0, 2, 4) for row in range(9) if rows.environment[row] != code}


def test_one_environment_is_mixed_within() -> None:
    other, _ = partners(batch([3] * 40), 1.0)
    assert set(other.tolist()) <= set(range(40))
    assert len(other.unique()) > 10


def test_partners_are_drawn_by_weight() -> None:
    rows = batch([0] * 4 + [1] * 4 + [2] * 2, [1, 1, 1, 1, 0, 3, 1, 0, 0, 0])
    drawn = torch.cat([partners(rows, 1.0)[0][:4] for _ in range(500)])
    assert set(drawn.tolist()) == {5, 6}
    assert (drawn == 5).double().mean() == pytest.approx(0.75, abs=0.04)


def test_shares_follow_the_beta_distribution() -> None:
    rows = batch(list(range(300)))
    wide, narrow = (torch.cat([partners(rows, alpha)[1] for _ in range(10)]) for alpha in (0.2, 200.0))
    assert wide.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.1)
    assert narrow.var() == pytest.approx(1 / (4 * 401), rel=0.1)


def update(step: GradientStep, rows: Batch) -> Tensor:
    model = Linear(init_scale=0.1).build((4,), 3)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.linspace(-1, 1, p.numel()).view_as(p))
    column = Column(rows.environment, tuple("abc"))
    data = Dataset(rows.x, rows.y, column)
    view = TrainingView("classification", tuple("xyz"), 3, (4,), Linear(), {"train": data})
    optimizers = step.setup({"model": model}, view, Trainer())
    torch.manual_seed(5)
    step({"model": model}, rows, optimizers, 0.0)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_an_update_is_that_of_the_mixed_rows_under_both_labels() -> None:
    rows = batch([0, 1, 2] * 4)
    torch.manual_seed(5)
    other, share = partners(rows, 1.0)
    mixed = share[:, None] * rows.x + (1 - share)[:, None] * rows.x[other]

    class TwoLabels(torch.nn.Module):
        def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
            def of(labels: Tensor) -> Tensor:
                return torch.nn.functional.cross_entropy(outputs, labels, reduction="none")

            return share * of(y) + (1 - share) * of(y[other])

    plain = Batch(mixed, rows.y, rows.environment, {}, None, rows.index)
    expected = update(GradientStep(loss=TwoLabels(), optimizer=SGD(lr=0.5)), plain)
    torch.testing.assert_close(update(MixupStep(1.0, optimizer=SGD(lr=0.5)), rows), expected)


@pytest.mark.parametrize("x", [torch.zeros(4, 5, dtype=torch.int64), {"a": torch.zeros(4, 2)}])
def test_tokens_cannot_be_mixed(x: Tensor | dict[str, Tensor]) -> None:
    rows = Batch(x, torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), {}, None, torch.arange(4))
    step = MixupStep(1.0)
    model = Linear().build((4,), 3)
    data = Dataset(torch.zeros(4, 4), rows.y, Column.constant(4))
    view = TrainingView("classification", tuple("xyz"), 3, (4,), Linear(), {"train": data})
    optimizers = step.setup({"model": model}, view, Trainer())
    with pytest.raises(UserError, match="mixup needs one input of real numbers"):
        step({"model": model}, rows, optimizers, 0.0)
