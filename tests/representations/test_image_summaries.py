"""Numbers that describe pictures."""

from __future__ import annotations

import pytest
import torch

from holdfast.representations import image_summaries


def test_a_red_left_half() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[:, 0, :, :2] = 0.6
    found = {name: values.item() for name, values in image_summaries(image).items()}
    assert found["brightness"] == pytest.approx(0.1)
    assert found["contrast"] == pytest.approx(0.1)
    assert found["brightness of the left half"] == pytest.approx(0.1)
    assert found["brightness of the top half"] == pytest.approx(0)
    assert found["share of red"] == pytest.approx(1)
    assert found["sharpness"] == pytest.approx((0 + 0.2 / 3) / 2)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (2, 8, 8)])
def test_any_shape_gives_finite_numbers(shape: tuple[int, ...]) -> None:
    for values in image_summaries(torch.rand(3, *shape)).values():
        assert values.shape == (3,)
        assert torch.isfinite(values).all()
