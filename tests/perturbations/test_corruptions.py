"""Common corruptions: closed forms, severities, randomness of each image, agreement with Pillow, refusals."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from holdfast.core.errors import UserError
from holdfast.perturbations.corruptions import COMMON, CORRUPTIONS, EXTRA, SEVERITIES, Scale, corrupt, corrupt_each
from holdfast.perturbations.corruptions.blur import glass_blur
from holdfast.perturbations.corruptions.digital import pixelate
from holdfast.perturbations.corruptions.draws import Draws
from holdfast.perturbations.corruptions.filters import blurred, smeared, zoomed
from holdfast.perturbations.corruptions.jpeg import jpeg
from holdfast.perturbations.corruptions.noise import shot_noise
from holdfast.perturbations.corruptions.weather import plasma

LEVEL = 1 / 255
SCALES: tuple[Scale, ...] = ("cifar", "imagenet")
OTHER_ORDER = {
    "elastic-transform": "the published amounts move less, and more roughly, from one severity to the next",
    "glass-blur": "the published amounts of CIFAR take turns in blurring and exchanging more",
    "frost-synth": "ice makes dark pictures lighter, and its darkening of them bright pictures darker",
    "snow": "from severity 2 to 3 of ImageNet flakes get larger and fewer",
    "spatter": "the last two severities are mud and not water",
    "pixelate": "28 of 32 pixels, severity 2 of CIFAR, is a change of more pixels than 27",
    "saturate": "the first two severities take color away and the others add it",
}

GIVE_COLOR = ("saturate", "spatter", "frost-synth")


def pictures(rows: int, channels: int, height: int, width: int) -> Tensor:
    """Smooth pictures in 8 bits, with some texture."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(rows, channels, 5, 5, generator=rng)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return ((smooth + 0.05 * torch.randn(smooth.shape, generator=rng)).clamp(0, 1) * 255).round() / 255


def changed(images: Tensor, name: str, severity: int, scale: Scale = "cifar", seed: int = 0) -> Tensor:
    return corrupt(images, name, severity, scale=scale, rng=torch.Generator().manual_seed(seed))


def grey(value: float, rows: int = 1, channels: int = 3, size: int = 32) -> Tensor:
    return torch.full((rows, channels, size, size), value)


def test_there_are_fifteen_and_four_more() -> None:
    assert len(COMMON) == 15
    assert len(CORRUPTIONS) == 19
    assert set(COMMON) | set(EXTRA) == set(CORRUPTIONS)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(1, 8, 8), (3, 28, 28), (3, 33, 17), (1, 9, 40)], ids=str)
def test_shape_range_levels_and_repeatability(name: str, scale: Scale, size: tuple[int, int, int]) -> None:
    x = pictures(3, *size)
    before = x.clone()
    for severity in (1, 3, 5):
        y = changed(x, name, severity, scale)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert 0 <= y.min() <= y.max() <= 1
        torch.testing.assert_close(y * 255, (y * 255).round(), atol=1e-4, rtol=0)
        assert y.equal(changed(x, name, severity, scale))
    assert x.equal(before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_large_images(name: str) -> None:
    x = pictures(1, 3, 224, 224)
    y = changed(x, name, 3, "imagenet")
    assert y.shape == x.shape
    assert 0.003 < (y - x).abs().mean() < 0.5


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(3, 32, 32), (1, 33, 17)], ids=str)
def test_an_image_does_not_depend_on_the_others(name: str, size: tuple[int, int, int]) -> None:
    x, seeds = pictures(5, *size), torch.arange(5)
    together = corrupt_each(x, name, 4, scale="cifar", seeds=seeds)
    singly = [
        corrupt_each(x[i : i + 1], name, 4, scale="cifar", seeds=seeds[i : i + 1]) for i in reversed(range(len(x)))
    ]
    assert together.equal(torch.cat(singly[::-1]))


def test_more_images_than_are_changed_at_once() -> None:
    x, seeds = pictures(1, 3, 32, 32).expand(200, -1, -1, -1), torch.arange(200)
    together = corrupt_each(x, "fog", 2, scale="cifar", seeds=seeds)
    assert together[-3:].equal(corrupt_each(x[-3:], "fog", 2, scale="cifar", seeds=seeds[-3:]))


def test_no_images_stay_none() -> None:
    assert changed(torch.zeros(0, 3, 8, 8), "snow", 1).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in OTHER_ORDER])
@pytest.mark.parametrize("scale", SCALES)
def test_severity_grows(name: str, scale: Scale) -> None:
    x = 0.2 + 0.5 * pictures(60, 3, 32, 32)
    distances = [(changed(x, name, severity, scale) - x).abs().mean().item() for severity in SEVERITIES]
    assert distances == sorted(distances)
    assert distances[0] < 0.9 * distances[-1]


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if "noise" not in name and name not in GIVE_COLOR])
def test_grey_is_color_of_equal_channels(name: str) -> None:
    x = pictures(4, 1, 32, 32)
    one, three = changed(x, name, 3), changed(x.expand(-1, 3, -1, -1), name, 3)
    torch.testing.assert_close(three, one.expand(-1, 3, -1, -1), atol=1.01 * LEVEL, rtol=0)


def test_deviation_of_noise() -> None:
    x = grey(0.5, rows=40)
    assert changed(x, "gaussian-noise", 3).sub(x).std().item() == pytest.approx(0.08, rel=0.02)
    assert changed(x, "speckle-noise", 5).sub(x).std().item() == pytest.approx(0.2 * 0.5, rel=0.02)
    level = 128 / 255
    counts = changed(grey(level, rows=40), "shot-noise", 5)
    assert counts.mean().item() == pytest.approx(level, abs=2e-3)
    assert counts.std().item() == pytest.approx((level / 50) ** 0.5, rel=0.02)


@pytest.mark.parametrize("photons", [3.0, 50.0, 500.0])
@pytest.mark.parametrize("level", [1, 40, 255])
def test_shot_noise_counts_are_poisson(photons: float, level: int) -> None:
    from scipy.stats import chisquare, poisson

    x = torch.full((1, 1, 400, 500), level / 255)
    counts = (shot_noise(x, photons, Draws.of(torch.tensor([1]), x.device)) * photons).round().long().flatten()
    mean = level / 255 * photons
    seen = np.bincount(counts.numpy(), minlength=int(mean + 10 * mean**0.5 + 30))
    expected = poisson.pmf(np.arange(len(seen)), mean) * len(counts)
    often = expected > 10
    pooled = np.append(seen[often], seen[~often].sum()), np.append(expected[often], expected[~often].sum())
    assert chisquare(pooled[0], pooled[1] * pooled[0].sum() / pooled[1].sum()).pvalue > 1e-4


def test_black_stays_black_under_shot_and_speckle_noise() -> None:
    assert not changed(grey(0.0), "shot-noise", 5).any()
    assert not changed(grey(0.0), "speckle-noise", 5).any()


def test_salt_and_pepper() -> None:
    x = grey(0.4, rows=40)
    y = changed(x, "impulse-noise", 5)
    assert y.eq(0).float().mean().item() == pytest.approx(0.035, rel=0.05)
    assert y.eq(1).float().mean().item() == pytest.approx(0.035, rel=0.05)
    assert y.unique().tolist() == pytest.approx([0.0, 0.4, 1.0])


@pytest.mark.parametrize(
    "name", ["defocus-blur", "glass-blur", "motion-blur", "zoom-blur", "gaussian-blur", "pixelate"]
)
@pytest.mark.parametrize("scale", SCALES)
def test_blurs_leave_a_constant_image_alone(name: str, scale: Scale) -> None:
    x = grey(100 / 255)
    torch.testing.assert_close(changed(x, name, 5, scale), x)


def test_elastic_and_jpeg_leave_a_constant_image_alone() -> None:
    x = grey(128 / 255)
    torch.testing.assert_close(changed(x, "elastic-transform", 5), x)
    torch.testing.assert_close(changed(x, "jpeg-compression", 5), x, atol=LEVEL, rtol=0)


def test_brightness_adds_to_grey_and_keeps_hue() -> None:
    torch.testing.assert_close(changed(grey(100 / 255), "brightness", 4), grey(151 / 255))
    red = torch.tensor([0.4, 0.2, 0.0])[None, :, None, None].expand(1, 3, 8, 8)
    expected = torch.tensor([0.6, 0.3, 0.0])[None, :, None, None].expand(1, 3, 8, 8)
    torch.testing.assert_close(changed(red, "brightness", 4), expected, atol=LEVEL, rtol=0)
    torch.testing.assert_close(changed(grey(0.0), "brightness", 5), grey(0.3), atol=LEVEL, rtol=0)


def test_contrast_keeps_the_means() -> None:
    x = pictures(6, 3, 32, 32)
    y = changed(x, "contrast", 5)
    torch.testing.assert_close(y.mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=LEVEL / 4, rtol=0)
    torch.testing.assert_close(y.std(dim=(2, 3)), 0.15 * x.std(dim=(2, 3)), atol=LEVEL / 2, rtol=0)


def test_saturation_goes_up_and_down() -> None:
    x = torch.tensor([0.8, 0.6, 0.6])[None, :, None, None].expand(1, 3, 8, 8)
    expected = {1: 0.8 - 0.3 * 0.2, 3: 0.8 - 1.5 * 0.2, 5: 0.8 * (1 - (2.5 * 0.25 + 0.2))}
    for severity, low in expected.items():
        y = changed(x, "saturate", severity)[0, :, 0, 0]
        torch.testing.assert_close(y, torch.tensor([0.8, low, low]), atol=LEVEL, rtol=0)
    only_grey = pictures(1, 1, 8, 8)
    assert changed(only_grey, "saturate", 5).equal(only_grey)


def test_gaussian_blur_is_scipys() -> None:
    x = pictures(2, 3, 33, 17)
    expected = ndimage.gaussian_filter(x.double().numpy(), (0, 0, 1.0, 1.0), mode="nearest", truncate=4)
    torch.testing.assert_close(changed(x, "gaussian-blur", 5), torch.from_numpy(expected).float(), atol=LEVEL, rtol=0)
    mirrored = ndimage.gaussian_filter(x.double().numpy(), (0, 0, 12.0, 12.0), mode="reflect", truncate=3)
    found = blurred(x, 12.0, truncate=3.0, edge="reflect")
    torch.testing.assert_close(found, torch.from_numpy(mirrored).float(), atol=1e-5, rtol=0)


def test_enlargement_is_scipys() -> None:
    x = pictures(1, 1, 32, 32)
    expected = ndimage.zoom(x[0, 0, 3:29, 3:29].numpy(), 1.25, order=1)
    assert expected.shape == (32, 32)
    torch.testing.assert_close(zoomed(x, 1.25)[0, 0], torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_motion_is_a_mean_over_pixels_to_the_right() -> None:
    x = torch.zeros(2, 1, 16, 16)
    x[:, :, 8, 8] = 1
    along, down = smeared(x, torch.tensor([0.0, torch.pi / 2]), 3, 1.0)
    weights = torch.exp(-(torch.arange(4.0) ** 2) / 2)
    torch.testing.assert_close(along[0, 8, 5:9].flip(0), weights / weights.sum(), atol=1e-3, rtol=0)
    torch.testing.assert_close(down[0, 5:9, 8].flip(0), weights / weights.sum(), atol=1e-3, rtol=0)


def test_defocus_is_a_disk() -> None:
    x = torch.zeros(1, 1, 31, 31)
    x[..., 15, 15] = 1
    y = changed(x, "defocus-blur", 1, "imagenet")[0, 0]
    rows, columns = torch.meshgrid(torch.arange(-15, 16), torch.arange(-15, 16), indexing="ij")
    disk = (rows**2 + columns**2 <= 9).float()
    torch.testing.assert_close(y, disk / disk.sum(), atol=LEVEL, rtol=0)


def test_frosted_glass_shows_a_pixel_above_or_to_the_left() -> None:
    """At the weakest blur, which is none; each of the four as often as the others."""
    x = torch.arange(1024.0).view(1, 1, 32, 32) / 1024
    y = glass_blur(x, (0.05, 1, 1), Draws.of(torch.tensor([3]), x.device))
    offsets = ((x - y) * 1024).round().long()[0, 0, 2:, 2:]
    values, counts = offsets.unique(return_counts=True)
    assert values.tolist() == [0, 1, 32, 33]
    assert counts.min() > 180


def test_pixels_replaced_at_once_are_those_one_after_the_other() -> None:
    height, width, reach, seed = 14, 11, 2, 5
    x = torch.rand(1, 1, height, width)
    draws = Draws.of(torch.tensor([seed]), x.device)
    down, right = (draws.uniform(2, height * width) * 2 * reach).long().sub(reach)[0].view(2, height, width)
    expected = x[0, 0].clone()
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            expected[h, w] = expected[h + int(down[h, w]), w + int(right[h, w])].item()
    assert glass_blur(x, (0.01, reach, 1), Draws.of(torch.tensor([seed]), x.device))[0, 0].equal(expected)


def test_plasma_fills_its_range_and_gets_smoother() -> None:
    draws = Draws.of(torch.arange(20), torch.device("cpu"))
    rough, smooth = plasma(draws, (32, 32), 1.2), plasma(draws, (32, 32), 3.0)
    for heights in (rough, smooth):
        assert heights.amin(dim=(1, 2, 3)).tolist() == [0.0] * 20
        assert heights.amax(dim=(1, 2, 3)).tolist() == [1.0] * 20
    assert rough.diff(dim=3).abs().mean() > 2 * smooth.diff(dim=3).abs().mean()


def test_fog_keeps_the_brightest_value_at_most_and_black_black() -> None:
    x = pictures(5, 3, 32, 32)
    assert (changed(x, "fog", 5).amax(dim=(1, 2, 3)) <= x.amax(dim=(1, 2, 3)) + LEVEL).all()
    assert not changed(grey(0.0), "fog", 3).any()


@pytest.mark.parametrize("share", [0.95, 0.65, 0.25])
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (33, 17)], ids=str)
def test_pixelate_is_pillows(share: float, size: tuple[int, int]) -> None:
    x = pictures(1, 1, *size)
    image = Image.fromarray((x[0, 0] * 255).round().to(torch.uint8).numpy())
    few = (max(1, int(size[1] * share)), max(1, int(size[0] * share)))
    expected = np.asarray(image.resize(few, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX))
    found = pixelate(x, share, Draws.of(torch.tensor([0]), x.device))[0, 0]
    torch.testing.assert_close(found, torch.from_numpy(expected / np.float32(255)), atol=1.1 * LEVEL, rtol=0)


@pytest.mark.parametrize("quality", [80, 50, 25, 7])
@pytest.mark.parametrize("size", [(1, 8, 8), (1, 33, 17), (3, 8, 8), (3, 32, 32), (3, 33, 17), (3, 9, 40)], ids=str)
def test_jpeg_is_pillows(quality: int, size: tuple[int, int, int]) -> None:
    x = pictures(8, *size)
    found = (jpeg(x, quality) * 255).round()
    difference = (found - torch.stack([through_pillow(image, quality) for image in x])).abs()
    assert difference.mean() < 0.5  # where a coefficient lies between two steps of its table, either may be taken
    assert (difference <= 1).float().mean() > 0.9


def through_pillow(image: Tensor, quality: int) -> Tensor:
    """(C, H, W) in [0, 1] as levels that were stored in a JPEG file."""
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    read = torch.from_numpy(np.array(Image.open(file))).float()
    return read.permute(2, 0, 1) if read.ndim == 3 else read[None]


def test_other_types_come_back() -> None:
    x = pictures(2, 3, 8, 8).double()
    y = changed(x, "contrast", 2)
    assert y.dtype == torch.float64
    torch.testing.assert_close(y.float(), changed(x.float(), "contrast", 2))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 3, 8, 8), 1.1), "values in"),
        (torch.full((1, 3, 8, 8), -0.1), "values in"),
        (torch.full((1, 3, 8, 8), torch.nan), "values in"),
        (torch.zeros(1, 3, 1, 1), "8 × 8 pixels at least, not 1 × 1"),
        (torch.zeros(1, 3, 7, 20), "8 × 8 pixels at least, not 7 × 20"),
        (torch.zeros(1, 2, 8, 8), r"not \(2, 8, 8\)"),
        (torch.zeros(3, 8, 8), r"not \(8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "divide 8-bit images by 255"),
    ],
    ids=["above", "below", "nan", "1x1", "7x20", "two channels", "no batch", "bytes"],
)
def test_images_that_cannot_be_corrupted(images: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        changed(images, "fog", 1)
    assert "\n" not in str(error.value)


def test_unknown_names_and_severities() -> None:
    x = grey(0.5)
    with pytest.raises(UserError, match=r"unknown corruption 'motionblur': did you mean 'motion-blur'"):
        changed(x, "motionblur", 1)
    with pytest.raises(UserError, match="unknown scale of corruptions 'cifer': did you mean 'cifar'"):
        changed(x, "fog", 1, "cifer")  # type: ignore[arg-type]
    for severity in (0, 6):
        with pytest.raises(UserError, match=f"severity is {severity}: it is a whole number from 1 to 5"):
            changed(x, "fog", severity)
