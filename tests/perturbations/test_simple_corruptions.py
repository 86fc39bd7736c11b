"""Corruptions: they keep shape and range, grow with severity, and do what their names say."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from holdfast.perturbations import SIMPLE_CORRUPTIONS
from holdfast.perturbations.simple_corruptions import blur, brightness, contrast, gaussian_noise, pixelate, stripes


def images(channels: int = 3, size: int = 28) -> torch.Tensor:
    """Smooth blobs, so that a blur changes little of them and noise much."""
    line = torch.linspace(-2, 2, size)
    blob = torch.exp(-(line[:, None] ** 2) - (line - 0.5) ** 2)
    return torch.stack([blob * scale for scale in torch.linspace(0.2, 0.9, 5)])[:, None].repeat(1, channels, 1, 1)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", SIMPLE_CORRUPTIONS)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 8), (2, 14)])
def test_shape_range_and_repeatability(name: str, channels: int, size: int) -> None:
    x = images(channels, size)
    before = x.clone()
    for severity in range(1, 6):
        corrupted = SIMPLE_CORRUPTIONS[name](x, severity, rng())
        assert corrupted.shape == x.shape
        assert 0 <= corrupted.min() <= corrupted.max() <= 1
        assert corrupted.equal(SIMPLE_CORRUPTIONS[name](x, severity, rng()))
        assert not corrupted.equal(x)
    assert x.equal(before)


@pytest.mark.parametrize("name", SIMPLE_CORRUPTIONS)
def test_severity_grows(name: str) -> None:
    changes = [(SIMPLE_CORRUPTIONS[name](images(), s, rng()) - images()).square().mean().item() for s in range(1, 6)]
    assert changes == sorted(changes)
    assert changes[0] < changes[-1] / 2


def test_blur_is_scipys() -> None:
    x = images(1)
    expected = torch.from_numpy(
        gaussian_filter1d(gaussian_filter1d(x.numpy(), 1.4, 2, mode="nearest"), 1.4, 3, mode="nearest")
    )
    torch.testing.assert_close(blur(x, 3, rng()), expected, atol=2e-3, rtol=0)


def test_contrast_keeps_the_mean_and_brightness_raises_it() -> None:
    x = images()
    torch.testing.assert_close(contrast(x, 5, rng()).mean(dim=(1, 2, 3)), x.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(contrast(x, 5, rng()).std(dim=(1, 2, 3)), 0.1 * x.std(dim=(1, 2, 3)))
    torch.testing.assert_close(brightness(x / 2, 2, rng()), x / 2 + 0.2)


def test_noise_has_its_deviation() -> None:
    grey = torch.full((50, 1, 28, 28), 0.5)
    assert (gaussian_noise(grey, 1, rng()) - grey).std().item() == pytest.approx(0.08, rel=0.02)


def test_pixels_are_coarse_and_stripes_are_every_fourth_column() -> None:
    coarse = pixelate(images(1), 1, rng())
    assert coarse[:, :, ::2, ::2].equal(coarse[:, :, 1::2, 1::2])
    lit = stripes(torch.zeros(40, 1, 8, 8), 1, rng())
    assert lit.count_nonzero() == 40 * 8 * 2
    assert {int(x[0, 0].nonzero()[0]) for x in lit} == {0, 1, 2, 3}


def test_other_severities_are_refused() -> None:
    with pytest.raises(ValueError, match="severity is 6"):
        contrast(images(), 6, rng())
