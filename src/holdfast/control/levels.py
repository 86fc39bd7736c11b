"""Levels of the grid runner: ground to cross, and a background that tells one level from another.

Shapes: H rows of cells from the bottom up, W columns, P pixels along the side of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.int8]
Picture = NDArray[np.float32]

HEIGHT, WIDTH = 10, 40
PIXELS = 2
_FIRST_GROUND, _HIGHEST_GROUND = 3, 5
_MARGIN = 4
_TEXTURE = 0.3


class Cell(IntEnum):
    """What a cell holds: nothing, something solid, something deadly, or the coin."""

    EMPTY = 0
    SOLID = 1
    DEADLY = 2
    COIN = 3


@dataclass(frozen=True, eq=False)
class Level:
    """A level.

    Attributes:
        cells: (H, W) codes of :class:`Cell`; row 0 is the bottom.
        background: (H·P, W·P, 3) colors in [0, 1], the top row first: what is seen where a cell is empty.
    """

    cells: Cells
    background: Picture

    @property
    def start(self) -> tuple[int, int]:
        """Row and column in which a run begins: on the ground of the first column."""
        return int((self.cells[:, 0] == Cell.SOLID).sum()), 0


def draw_level(layout: np.random.Generator, scenery: np.random.Generator) -> Level:
    """A level at random; not every one can be solved.

    Args:
        layout: Where ground, gaps, spikes, roofs and the coin are.
        scenery: The background's mean color, uniform in [0, 1]³, and its texture, ±0.3 at every pixel.

    >>> level = draw_level(np.random.default_rng(0), np.random.default_rng(1))
    >>> level.cells.shape, level.background.shape, int((level.cells == Cell.COIN).sum())
    ((10, 40), (20, 80, 3), 1)
    """
    return Level(draw_cells(layout), _draw_background(scenery))


def draw_cells(rng: np.random.Generator) -> Cells:
    """(H, W) cells: flat ground of one to four columns, an obstacle, flat ground again, and the coin at the end."""
    ground = _FIRST_GROUND
    columns = [_column(ground)] * _MARGIN
    while len(columns) < WIDTH - _MARGIN:
        obstacle, ground = _OBSTACLES[int(rng.integers(len(_OBSTACLES)))](ground, rng)
        columns += [*obstacle, *[_column(ground)] * int(rng.integers(1, 5))]
    columns = [*columns[: WIDTH - _MARGIN], *[_column(ground)] * (_MARGIN - 1), _column(ground, Cell.COIN)]
    return np.stack(columns, axis=1)


def _gap(ground: int, rng: np.random.Generator) -> tuple[list[Cells], int]:
    """One to five columns without ground; the other side may be higher or lower by two."""
    return [_column(0)] * int(rng.integers(1, 6)), _other_ground(ground, rng)


def _spikes(ground: int, rng: np.random.Generator) -> tuple[list[Cells], int]:
    return [_column(ground, Cell.DEADLY)] * int(rng.integers(1, 4)), ground


def _roof(ground: int, rng: np.random.Generator) -> tuple[list[Cells], int]:
    """Two to four columns with something solid one or two cells above the runner's head."""
    column = _column(ground)
    column[ground + int(rng.integers(1, 3))] = Cell.SOLID
    return [column] * int(rng.integers(2, 5)), ground


def _step(ground: int, rng: np.random.Generator) -> tuple[list[Cells], int]:
    return [], _other_ground(ground, rng)


_OBSTACLES = (_gap, _spikes, _roof, _step)


def _other_ground(ground: int, rng: np.random.Generator) -> int:
    return int(np.clip(ground + rng.integers(-2, 3), 1, _HIGHEST_GROUND))


def _column(ground: int, top: Cell = Cell.EMPTY) -> Cells:
    """(H,) cells: solid up to the ground, then ``top``; the bottom of a column without ground is deadly."""
    column = np.full(HEIGHT, Cell.EMPTY, dtype=np.int8)
    column[:ground] = Cell.SOLID
    column[ground] = top if ground else Cell.DEADLY
    return column


def _draw_background(rng: np.random.Generator) -> Picture:
    color = rng.uniform(0.0, 1.0, 3)
    texture = rng.uniform(-_TEXTURE, _TEXTURE, (HEIGHT * PIXELS, WIDTH * PIXELS, 3))
    return np.clip(color + texture, 0.0, 1.0).astype(np.float32)
