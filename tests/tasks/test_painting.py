"""Images painted when a batch needs them: the same as painted before, and nothing of other rows within reach."""

from __future__ import annotations

import torch

from holdfast.core.lazy import LazyInputs
from holdfast.tasks.painting import PaintedReader, paint
from holdfast.testing.reach import reachable_tensors


def reader(seed: int = 0) -> PaintedReader:
    rng = torch.Generator().manual_seed(seed)
    return PaintedReader(
        torch.randint(0, 256, (20, 4, 5), dtype=torch.uint8, generator=rng), torch.rand(20, 3, generator=rng)
    )


def test_rows_are_painted_as_asked() -> None:
    lazy = LazyInputs.of(reader())
    assert lazy.shape == (20, 3, 4, 5)
    rows = torch.tensor([3, 3, 19, 0])
    assert lazy[rows].equal(paint(reader().images, reader().colors)[rows])
    assert lazy[rows].dtype == torch.float32


def test_a_full_color_keeps_the_intensity() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    painted = paint(images, torch.tensor([[1.0, 0.0, 0.5]]))
    assert painted[0, 0].equal(images[0] / 255)
    assert painted[0, 1].count_nonzero() == 0
    torch.testing.assert_close(painted[0, 2], images[0] / 510)


def test_what_is_taken_holds_nothing_else() -> None:
    taken = reader().take(torch.tensor([2, 5]))
    assert taken.read(torch.tensor([1])).equal(reader().read(torch.tensor([5])))
    assert sum(len(values) for values in reachable_tensors(taken)) == 2 * 20 + 2 * 3


def test_keys_change_with_image_and_color() -> None:
    first = list(reader().keys())
    assert len(set(first)) == 20
    other = reader()
    other.images[4, 0, 0] ^= 1
    other.colors[7, 2] += 0.1
    assert [k for k, (one, two) in enumerate(zip(first, other.keys(), strict=True)) if one != two] == [4, 7]
