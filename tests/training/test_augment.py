"""Augmented training: only training batches change, by the seed, and a resumed run ends with the same bits."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast.augmentations.horizontal_flip import HorizontalFlip
from holdfast.augmentations.random_crop import RandomCrop
from holdfast.augmentations.random_erasing import RandomErasing
from holdfast.core.augmentation import Augmentation
from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.task import TrainingView
from holdfast.models.cnn import CNN
from holdfast.selection import Augmented, EnvironmentSampler, Rows
from holdfast.training import Budget, FolderStore, GradientStep, Trainer

ALL = (HorizontalFlip(), RandomCrop(padding=1), RandomErasing())


class Killed(BaseException):
    """The end of the process."""


class KillingStore(FolderStore):
    """Kills the process instead of the eleventh full checkpoint."""

    left = 10

    def save(self, stage: str, kind: str, tree: Any) -> None:
        if kind == "checkpoint":
            self.left -= 1
            if self.left < 0:
                raise Killed
        super().save(stage, kind, tree)


def view() -> TrainingView:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 3, 6, 6, generator=rng), torch.randint(2, (60,), generator=rng)
    rows = Dataset(x, y, Column(torch.arange(60) % 3, ("a", "b", "c")))
    return TrainingView("classification", ("no", "yes"), 2, (3, 6, 6), CNN(channels=(8,)), {"train": rows})


def trained(augment: tuple[Augmentation, ...], store: FolderStore | None = None, seed: int = 0) -> dict[str, Tensor]:
    trainer = Trainer(seed=seed, budget=Budget(16), batch_size=12, augment=augment, store=store, checkpoint_seconds=0)
    torch.manual_seed(0)
    model: nn.Module = CNN(channels=(8,)).build((3, 6, 6), 2)
    return dict(trainer.fit(model, view(), GradientStep()).model.state_dict())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(values, second[name]) for name, values in first.items())


def test_a_killed_run_goes_on_with_the_same_random_changes(tmp_path: Path) -> None:
    whole = trained(ALL)
    store = KillingStore(tmp_path)
    with contextlib.suppress(Killed):
        trained(ALL, store)
    assert store.left < 0
    assert same(whole, trained(ALL, FolderStore(tmp_path)))
    assert same(whole, trained(ALL))


def test_augmentation_and_its_order_matter() -> None:
    plain, flipped, cropped = trained(()), trained(ALL[:1]), trained(ALL[:2])
    assert not same(plain, flipped)
    assert not same(flipped, cropped)
    assert not same(cropped, trained(ALL[:2][::-1]))


def test_rows_come_in_the_same_order_with_and_without() -> None:
    data = view().train

    def rows() -> Rows:
        return Rows(data, EnvironmentSampler(data.environment.codes, 12, torch.Generator().manual_seed(3)))

    plain, augmented = rows(), Augmented(rows(), ALL, torch.Generator().manual_seed(5))
    for _ in range(8):
        one, other = plain.next_batch(), augmented.next_batch()
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.labels, other.labels)
        assert not torch.equal(one.x, other.x)  # type: ignore[arg-type]
    assert torch.equal(data.x, view().train.x)  # type: ignore[arg-type]


def test_several_inputs_are_refused() -> None:
    data = Dataset({"image": torch.zeros(4, 3, 6, 6)}, None, Column.constant(4))
    source = Augmented(
        Rows(data, EnvironmentSampler(data.environment.codes, 2, torch.Generator())), ALL, torch.Generator()
    )
    with pytest.raises(UserError, match="augmentations take one image per row, these have image"):
        source.next_batch()
