from __future__ import annotations

import torch

from holdfast.core.ledger import Ledger
from holdfast.core.task import training_view
from holdfast.methods.and_mask import AndMask
from holdfast.methods.erm import ERM
from holdfast.testing import toy_task
from holdfast.training import SGD, Budget, Trainer

TASK = toy_task()


def trained(method: ERM | AndMask) -> tuple[Trainer, list[torch.Tensor]]:
    trainer = Trainer(budget=Budget(20), batch_size=24, precision="64-true")
    model = method.fit(training_view(TASK, method.needs(), Ledger()), trainer)
    return trainer, list(model.parameters())


def test_threshold_zero_is_erm() -> None:
    optimizer = SGD(lr=0.1, momentum=0.5)
    _, plain = trained(ERM(optimizer=optimizer))
    for rescale in ("tensor", "global", "none"):
        _, masked = trained(AndMask(threshold=0.0, rescale=rescale, optimizer=optimizer))
        for a, b in zip(masked, plain, strict=True):
            torch.testing.assert_close(a, b)


def test_the_history_tells_what_was_kept() -> None:
    """By default all three environments must agree, and of four tensors each keeps a part."""
    trainer, _ = trained(AndMask())
    first = trainer.fits["main"].history[0]
    kept = [value for name, value in first.items() if name.startswith("kept ")]
    assert len(kept) == 4
    assert all(0 < value < 1 for value in kept)


def test_the_scope_of_the_rescaling_matters() -> None:
    first = [trained(AndMask(rescale=rescale, optimizer=SGD(lr=0.1)))[1][0] for rescale in ("tensor", "global", "none")]
    assert not torch.allclose(first[0], first[2])
    assert not torch.allclose(first[1], first[2])
    assert not torch.allclose(first[0], first[1])
