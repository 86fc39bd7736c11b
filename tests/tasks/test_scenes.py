"""Scenes: textures of equal brightness, places within the canvas, pixels against a drawing by loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from holdfast.core.lazy import LazyInputs
from holdfast.tasks.scenes import PERIOD, TEXTURES, Scenes, Stage, corners_around, tiles


def random_stage(seed: int = 0, values: int = 10) -> tuple[Stage, torch.Generator]:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (30, 6, 6), generator=rng, dtype=torch.uint8)
    return Stage.random(images, values, 0.25, rng), rng


def random_scenes(seed: int = 0) -> Scenes:
    stage, rng = random_stage(seed)
    codes = torch.randint(10, (3, 30), generator=rng)
    return stage.scenes(torch.randperm(30, generator=rng), torch.arange(30), codes[0], codes[1], codes[2])


def test_half_of_every_texture_is_bright() -> None:
    assert tiles(10).unique().tolist() == [0.0, 1.0]
    assert tiles(10).sum(dim=(1, 2)).tolist() == [PERIOD * PERIOD / 2] * 10


def test_no_texture_is_another_one_shifted() -> None:
    for one, other in itertools.combinations(tiles(len(TEXTURES)), 2):
        shifts = [torch.roll(one, (dy, dx), (0, 1)) for dy in range(PERIOD) for dx in range(PERIOD)]
        assert not any(shifted.equal(other) for shifted in shifts)


@pytest.mark.parametrize("places", range(2, 11))
@pytest.mark.parametrize("room", [8, 14])
def test_places_differ_and_lie_within_the_canvas(places: int, room: int) -> None:
    corners = corners_around(places, room)
    assert len({tuple(corner) for corner in corners.tolist()}) == places
    assert corners.min() >= 0
    assert corners.max() <= room


def test_pixels_are_those_of_a_drawing_by_loops() -> None:
    scenes = random_scenes()
    drawn = scenes.draw()
    assert drawn.shape == (30, 3, 12, 12)
    for n, channel, y, x in itertools.product(range(0, 30, 7), range(3), range(12), range(12)):
        dy, dx = y - int(scenes.corners[n, 0]), x - int(scenes.corners[n, 1])
        inside = 0 <= dy < 6 and 0 <= dx < 6
        figure = int(scenes.images[n, dy, dx]) / 255 if inside else 0.0
        py, px = (y + int(scenes.phases[n, 0])) % 4, (x + int(scenes.phases[n, 1])) % 4
        ground = 0.25 * float(scenes.textures[n, py, px])
        expected = figure * float(scenes.colors[n, channel]) + (1 - figure) * ground
        assert float(drawn[n, channel, y, x]) == pytest.approx(expected, abs=1e-6)


def test_rows_are_drawn_when_asked() -> None:
    scenes = random_scenes()
    lazy = LazyInputs.of(scenes)
    rows = torch.tensor([3, 1, 3])
    assert lazy.shape == (30, 3, 12, 12)
    assert lazy[rows].equal(scenes.draw()[rows])
    assert lazy.take(rows)[torch.tensor([1])].equal(scenes.draw()[1:2])


def test_a_key_tells_every_part_of_a_scene() -> None:
    stage, _ = random_stage()
    one = torch.zeros(1, dtype=torch.int64)
    keys = [
        next(stage.scenes(image, phase, color, texture, position).keys())
        for image, phase, color, texture, position in itertools.product([one, one + 1], repeat=5)
    ]
    assert len(set(keys)) == 2**5
