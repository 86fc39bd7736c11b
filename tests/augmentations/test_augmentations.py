"""What each augmentation does to images; that they are deterministic stands in the contracts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.augmentations.horizontal_flip import HorizontalFlip
from holdfast.augmentations.random_crop import RandomCrop
from holdfast.augmentations.random_erasing import RandomErasing
from holdfast.core.augmentation import Augmentation
from holdfast.core.errors import UserError
from holdfast.core.registry import create


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 400, height: int = 6, width: int = 5) -> Tensor:
    return torch.rand(n, 3, height, width, generator=rng(1))


def test_each_image_is_either_swapped_or_not_in_the_proportion_asked_for() -> None:
    x = images(2000)
    changed = HorizontalFlip(probability=0.3)(x, rng())
    swapped = (changed == x.flip(3)).flatten(1).all(dim=1)
    kept = (changed == x).flatten(1).all(dim=1)
    assert (swapped ^ kept).all()
    assert 0.27 < swapped.float().mean() < 0.33
    assert torch.equal(HorizontalFlip(probability=0.0)(x, rng()), x)


def test_a_crop_is_each_window_of_the_padded_image_equally_often() -> None:
    x = images(2500)
    padded = F.pad(x, [2, 2, 2, 2])
    windows = torch.stack([padded[:, :, t : t + 6, s : s + 5] for t in range(5) for s in range(5)])
    changed = RandomCrop(padding=2)(x, rng())
    which = (windows == changed).flatten(2).all(dim=2)
    assert (which.sum(dim=0) == 1).all()
    counts = which.sum(dim=1)
    assert counts.min() > 60  # 100 expected, standard deviation 10
    assert counts.max() < 140


def test_what_is_erased_is_one_rectangle_of_the_size_asked_for() -> None:
    x = torch.full((500, 3, 32, 48), 2.0)
    changed = RandomErasing(probability=0.6, smallest=0.1, largest=0.2, aspect=0.5)(x, rng())
    erased = (changed != 2.0).all(dim=1)
    assert torch.equal(erased, (changed != 2.0).any(dim=1))
    hit = erased.flatten(1).any(dim=1)
    assert 0.53 < hit.float().mean() < 0.67
    shapes = []
    for mask in erased[hit]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        height, width = int(rows.sum()), int(columns.sum())
        assert int(mask.sum()) == height * width
        assert 0.09 < height * width / (32 * 48) < 0.22
        assert 0.45 < height / width < 2.2
        shapes.append((height, width))
        assert rows.nonzero().max() - rows.nonzero().min() == height - 1
    assert len(set(shapes)) > 50
    values = changed[:, 0][erased]
    assert 0.48 < values.mean() < 0.52


def test_erased_rectangles_reach_every_pixel() -> None:
    x = torch.full((2000, 1, 8, 8), 2.0)
    often = (RandomErasing(probability=1.0)(x, rng()) != 2.0).float().mean(dim=0)
    assert often.min() > 0.02


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(UserError, match=r"smallest=0.5 is more than largest=0.2: swap them"):
        create(Augmentation, "random-erasing:smallest=0.5:largest=0.2")


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(UserError, match="'horizontal-flip' takes images"):
        HorizontalFlip().check((7,))
    HorizontalFlip().check((3, 8, 8))
