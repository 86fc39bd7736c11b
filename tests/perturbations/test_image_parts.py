"""Parts of pictures that one takes from another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from holdfast.perturbations.image_parts import image_swaps, with_brightness_of, with_color_of, with_region_of


def pictures(n: int = 6, shape: tuple[int, ...] = (3, 9, 12), seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 9, 12), (1, 8, 8), (3, 1, 1), (1, 2, 5), (3, 32, 32)])
def test_a_picture_that_is_its_own_donor_stays_as_it_is(shape: tuple[int, ...]) -> None:
    x = pictures(shape=shape)
    for change in image_swaps(shape).values():
        torch.testing.assert_close(change(x, x), x)
        changed = change(x, x.flip(0))
        assert changed.shape == x.shape
        assert 0 <= changed.min() <= changed.max() <= 1


def test_regions_tile_the_picture() -> None:
    x, donors = torch.zeros(1, 3, 10, 11), torch.ones(1, 3, 10, 11)
    regions = [change for name, change in image_swaps((3, 10, 11)).items() if " " in name]
    assert len(regions) == 9
    torch.testing.assert_close(sum(change(x, donors) for change in regions), donors)


def test_a_region_is_the_donors_and_nothing_else() -> None:
    x, donors = pictures(), pictures(seed=1)
    changed = with_region_of(x, donors, rows=slice(0, 3), columns=slice(8, 12))
    assert torch.equal(changed[..., :3, 8:], donors[..., :3, 8:])
    assert torch.equal(changed[..., 3:, :], x[..., 3:, :])


def test_red_on_black_takes_the_green_of_another() -> None:
    shape = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    red, green = (shape * torch.tensor(rgb)[None, :, None, None] for rgb in ((1.0, 0, 0), (0, 1.0, 0)))
    torch.testing.assert_close(with_color_of(red, green.flip(3)), green)


def test_brightness_is_the_donors_where_no_pixel_leaves_the_range() -> None:
    x, donors = pictures() / 2, pictures(seed=1) / 4
    changed = with_brightness_of(x, donors)
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), donors.mean(dim=(1, 2, 3)))


def test_black_pictures_have_no_brightness_to_change() -> None:
    black = torch.zeros(2, 3, 4, 4)
    for name in ("brightness", "color"):
        assert torch.equal(image_swaps((3, 4, 4))[name](black, pictures(2, (3, 4, 4))), black)


def test_the_border_is_a_frame() -> None:
    changed = image_swaps((1, 16, 16))["border"](torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16))
    assert changed.sum() == 16 * 16 - 12 * 12
