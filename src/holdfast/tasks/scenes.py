"""Small grey images in color on larger, textured canvases: figure, color, place and background are set apart.

Shapes: N images of h × w pixels on canvases of H × W, of which each side is at least as long.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from holdfast.tasks.colored_digits import COLORS

PERIOD = 4
"""Textures repeat after so many pixels."""

TEXTURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "wide rows": lambda y, x: y // 2,
    "wide columns": lambda y, x: x // 2,
    "rising": lambda y, x: (x + y) % PERIOD // 2,
    "falling": lambda y, x: (x - y) % PERIOD // 2,
    "wide checks": lambda y, x: x // 2 + y // 2,
    "rows": lambda y, x: y,
    "columns": lambda y, x: x,
    "checks": lambda y, x: x + y,
    "flat bricks": lambda y, x: x // 2 + y,
    "tall bricks": lambda y, x: x + y // 2,
}
"""Where a texture is bright: at the pixels whose number is odd. Half of them are, so that brightness tells nothing."""


def tiles(textures: int) -> Tensor:
    """The first textures, one period of each: (textures, 4, 4) of zeros and ones."""
    y, x = torch.meshgrid(torch.arange(PERIOD), torch.arange(PERIOD), indexing="ij")
    return torch.stack([(number(y, x) % 2).float() for number in list(TEXTURES.values())[:textures]])


def corners_around(places: int, room: int) -> Tensor:
    """Top left corners around the middle of a canvas, evenly and counter-clockwise from the right: (places, 2).

    Args:
        places: How many.
        room: Pixels by which the canvas is longer than the image, in both directions.

    >>> corners_around(2, 8).tolist()
    [[4, 8], [4, 0]]
    """
    angle = torch.arange(places, dtype=torch.float64) * (2 * math.pi / places)
    circle = torch.stack([-angle.sin(), angle.cos()], dim=1)
    return ((1 + circle) * (room / 2)).round().long()


@dataclass(frozen=True, eq=False)
class Stage:
    """All that scenes are made of: N images with a texture shift for each, and k colors, textures and places.

    Attributes:
        images: (N, s, s) uint8.
        phases: (N, 2) int64 shifts of the texture.
        colors: (k, 3) in [0, 1].
        textures: (k, 4, 4).
        corners: (k, 2).
        names: Of the values, for ``color``, ``texture`` and ``position``.
        contrast: Brightness of the textures.
    """

    images: Tensor
    phases: Tensor
    colors: Tensor
    textures: Tensor
    corners: Tensor
    names: Mapping[str, tuple[str, ...]]
    contrast: float

    @staticmethod
    def random(images: Tensor, values: int, contrast: float, rng: torch.Generator) -> Stage:
        """The first colors and textures, places around the middle of a canvas twice as large, and random shifts.

        Args:
            images: (N, s, s) uint8.
            values: k, ten at most.
            contrast: Brightness of the textures, in [0, 1].
            rng: Draws the shifts.
        """
        return Stage(
            images,
            torch.randint(PERIOD, (len(images), 2), generator=rng),
            torch.tensor(list(COLORS.values()))[:values],
            tiles(values),
            corners_around(values, images.shape[1]),
            {
                "color": tuple(COLORS)[:values],
                "texture": tuple(TEXTURES)[:values],
                "position": tuple(f"{round(360 * k / values)}°" for k in range(values)),
            },
            contrast,
        )

    def scenes(self, shown: Tensor, rows: Tensor, color: Tensor, texture: Tensor, position: Tensor) -> Scenes:
        """M scenes.

        Args:
            shown: (M,) which image each shows.
            rows: (M,) whose texture shift each has.
            color: (M,) in [0, k).
            texture: The same.
            position: The same.
        """
        return Scenes(
            self.images[shown],
            self.colors[color],
            self.corners[position],
            self.textures[texture],
            self.phases[rows],
            side=2 * self.images.shape[1],
            contrast=self.contrast,
        )


@dataclass(frozen=True, eq=False)
class Scenes:
    """N scenes; a :class:`~holdfast.core.lazy.RowReader` that draws them when asked.

    A pixel is figure × color + (1 − figure) × contrast × texture, where figure is the image's intensity there.

    Attributes:
        images: (N, h, w) uint8.
        colors: (N, 3) in [0, 1], of the figure.
        corners: (N, 2) int64, the image's first row and column on the canvas.
        textures: (N, 4, 4) in [0, 1], one period of the background.
        phases: (N, 2) int64, by how many pixels the background is shifted.
        side: H = W of the canvas.
        contrast: Brightness of the texture.
    """

    images: Tensor
    colors: Tensor
    corners: Tensor
    textures: Tensor
    phases: Tensor
    side: int
    contrast: float
    dtype: torch.dtype = torch.float32

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        return 3, self.side, self.side

    def __len__(self) -> int:
        return len(self.images)

    def draw(self) -> Tensor:
        """All scenes: (N, 3, H, W) float32 in [0, 1]."""
        figure = self._figures() / 255
        ground = self.contrast * self._grounds()
        return figure[:, None] * self.colors[:, :, None, None] + ((1 - figure) * ground)[:, None]

    def read(self, rows: Tensor) -> Tensor:
        return self.take(rows).draw()

    def take(self, rows: Tensor) -> Scenes:
        images, colors, corners, textures, phases = (part[rows] for part in self._parts())
        return Scenes(images, colors, corners, textures, phases, self.side, self.contrast, self.dtype)

    def keys(self) -> Iterator[str]:
        for row in zip(*(part.numpy() for part in self._parts()), strict=True):
            content = b"".join(part.tobytes() for part in row)
            yield hashlib.sha256(content + repr((self.side, self.contrast)).encode()).hexdigest()

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.images, self.colors, self.corners, self.textures, self.phases

    def _figures(self) -> Tensor:
        """(N, H, W) the images in their places, black around them."""
        height, width = self.images.shape[1:]
        below, right = self.side - height, self.side - width
        padded = pad(self.images, (right, right, below, below))
        shift = torch.tensor([below, right]) - self.corners
        return _window(padded, shift, self.side)

    def _grounds(self) -> Tensor:
        """(N, H, W) the textures over the whole canvas."""
        times = math.ceil(self.side / PERIOD) + 1
        return _window(self.textures.repeat(1, times, times), self.phases % PERIOD, self.side)


def _window(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """The square window of each image that begins at its corner: (N, …, …), (N, 2) → (N, side, side)."""
    steps = torch.arange(side)
    rows, columns = corners[:, 0, None] + steps, corners[:, 1, None] + steps
    return images[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
