"""The AND-mask over single examples."""

from __future__ import annotations

import torch

from holdfast.core.ledger import Ledger
from holdfast.core.task import training_view
from holdfast.methods.and_mask import AndMask
from holdfast.models.mlp import MLP
from holdfast.selection import EnvironmentSampler
from holdfast.testing import toy_task
from holdfast.training import SGD, Budget, Trainer


def test_an_update_masks_components_on_which_single_rows_disagree() -> None:
    """Against autograd, row by row."""
    task = toy_task(model=MLP(hidden=(5,)))
    method = AndMask(groups="row", threshold=0.4, optimizer=SGD(lr=0.1))
    view = training_view(task, method.needs(), Ledger())
    rows = len(view.train)
    before = Trainer().build(method, view)
    losses = torch.nn.functional.cross_entropy(before(view.train.x), view.train.labels, reduction="none")
    parameters = list(before.parameters())
    each = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    after = method.fit(view, Trainer(budget=Budget(1), batch_size=rows))
    for k, (start, end) in enumerate(zip(parameters, after.parameters(), strict=True)):
        gradients = torch.stack([gradient[k] for gradient in each])
        kept = (gradients.sign().sum(0).abs() >= 0.4 * rows).float()
        expected = kept * gradients.mean(0) / (1e-10 + kept.mean())
        torch.testing.assert_close(start - end, 0.1 * expected, rtol=1e-4, atol=1e-6)


def test_batches_of_single_rows_hold_as_many_as_they_should() -> None:
    sampler = EnvironmentSampler(torch.randperm(300), 80, torch.Generator().manual_seed(0))
    drawn = [sampler.draw() for _ in range(30)]
    assert all(len(rows) == len(rows.unique()) == 80 for rows in drawn[:3])
    assert len(torch.cat(drawn[:3]).unique()) == 240
    counts = torch.bincount(torch.cat(drawn), minlength=300)
    assert (counts.min(), counts.max()) == (8, 8)


def test_the_mask_needs_no_column_for_rows() -> None:
    assert AndMask(groups="row").needs().columns == ()
    assert not AndMask(groups="row").needs().environments
    assert AndMask().needs().environments
