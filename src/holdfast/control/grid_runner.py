"""The grid runner: a small world with exact rules, in which a runner must reach a coin.

Shapes: N states, S states of a level, A actions, H rows and W columns of cells, P pixels along the side of a cell.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from holdfast.control.levels import PIXELS, WIDTH, Cell, Level, Picture

Ints = NDArray[np.int64]

JUMP = 3
"""Cells that a jump rises, one at a time."""
STEP_LIMIT = 4 * WIDTH
"""Steps after which a run is broken off."""
BEHIND, AHEAD, ABOVE = 3, 5, 3
"""Cells that are seen left and right of the runner, and above as well as below."""
VIEW = (3, (2 * ABOVE + 1) * PIXELS, (BEHIND + 1 + AHEAD) * PIXELS)
"""Shape of what the runner sees: channels, height, width."""


class Action(IntEnum):
    """What the runner can do; of several best actions an expert takes the first."""

    RIGHT = 0
    JUMP = 1
    STAY = 2
    LEFT = 3


_DIRECTION = np.array([1, 1, 0, -1])
_SPRITES: dict[Cell, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    Cell.SOLID: ((0.45, 0.30, 0.15), (0.20, 0.12, 0.05)),
    Cell.DEADLY: ((0.90, 0.10, 0.10), (1.00, 1.00, 1.00)),
    Cell.COIN: ((1.00, 0.90, 0.10), (0.60, 0.50, 0.00)),
}


@dataclass(frozen=True)
class State:
    """Where the runner is.

    Attributes:
        row, column: Of its cell; row 0 is the bottom.
        rise: How many more cells it goes up before it falls, in [0, 3].
    """

    row: int
    column: int
    rise: int = 0


@dataclass(frozen=True, eq=False)
class GridRunner:
    """A side-scrolling world in the spirit of CoinRun, small enough that all of it can be planned exactly.

    At each step the runner moves one cell: to the right, to the left, or not at all; a jump, possible on the ground
    only, goes right and rises three cells in as many steps. In the air the runner steers; without a rise left, and
    without ground, it falls a cell per step. It moves up or down first, then sideways; something solid stops it. A run
    ends with success at the coin and with death at something deadly.

    What is seen is a window around the runner. The runner's color tells how far it still rises, so that nothing about
    it is hidden. The background belongs to the level alone and changes nothing.

    After Cobbe, Klimov, Hesse, Kim, Schulman, *Quantifying generalization in reinforcement learning*, ICML 2019,
    arXiv:1812.02341.

    Attributes:
        level: The level.

    >>> from holdfast.control.levels import draw_level
    >>> runner = GridRunner(draw_level(np.random.default_rng(0), np.random.default_rng(1)))
    >>> runner.step(runner.start, Action.JUMP)
    State(row=4, column=1, rise=2)
    """

    level: Level

    @property
    def start(self) -> State:
        """The state in which a run begins."""
        return State(*self.level.start)

    def step(self, state: State, action: Action) -> State:
        """The state after an action; an ended run stays where it is."""
        return self.state(int(self.transitions[self.index(state), action]))

    def reached(self, state: State) -> bool:
        """Whether the runner has the coin."""
        return bool(self.won[self.index(state)])

    def dead(self, state: State) -> bool:
        """Whether the runner has met something deadly."""
        return bool(self.ended[self.index(state)]) and not self.reached(state)

    def index(self, state: State) -> int:
        """The number of a state in [0, S)."""
        return int(np.ravel_multi_index((state.row, state.column, state.rise), self._shape))

    def state(self, index: int) -> State:
        """The state of a number."""
        return State(*map(int, np.unravel_index(index, self._shape)))

    def observe(self, states: Ints) -> Picture:
        """(N, *VIEW) what is seen in the states of these (N,) numbers, in [0, 1]."""
        row, column, rise = np.unravel_index(states, self._shape)
        top = (self._shape[0] - 1 - row) * PIXELS
        seen = self._windows[top, column * PIXELS]
        colors = np.stack([rise / JUMP, np.zeros(len(states)), np.ones(len(states))], axis=1)
        seen[:, :, *_cell(ABOVE, BEHIND)] = colors[:, :, None, None]
        return seen

    def picture_of(self, state: State) -> Picture:
        """(H·P, W·P, 3) the level with the runner in it."""
        picture = self.picture.copy()
        picture[_cell(self._shape[0] - 1 - state.row, state.column)] = state.rise / JUMP, 0.0, 1.0
        return picture

    @functools.cached_property
    def transitions(self) -> Ints:
        """(S, A) number of the state after each action; that of an ended run is its own."""
        row, column, rise, action = np.indices((*self._shape, len(Action)))
        jumps = (action == Action.JUMP) & self._solid(row - 1, column)
        rise = np.where(jumps, JUMP, rise)
        climbs = (rise > 0) & ~self._solid(row + 1, column)
        falls = (rise == 0) & ~self._solid(row - 1, column)
        row = row + climbs - falls
        aside = column + _DIRECTION[action]
        column = np.where(self._solid(row, aside), column, aside)
        after = np.ravel_multi_index((row, column, np.where(climbs, rise - 1, 0)), self._shape)
        return np.where(self.ended[:, None], np.arange(len(self.ended))[:, None], after.reshape(-1, len(Action)))

    @functools.cached_property
    def ended(self) -> NDArray[np.bool_]:
        """(S,) whether the run is over."""
        return self._everywhere(Cell.DEADLY) | self._everywhere(Cell.COIN)

    @functools.cached_property
    def won(self) -> NDArray[np.bool_]:
        """(S,) whether the runner has the coin."""
        return self._everywhere(Cell.COIN)

    @functools.cached_property
    def picture(self) -> Picture:
        """(H·P, W·P, 3) the level without the runner, the top row first."""
        picture = self.level.background.copy()
        for cell, colors in _SPRITES.items():
            here = np.repeat(np.repeat(self.level.cells[::-1] == cell, PIXELS, axis=0), PIXELS, axis=1)
            checkered = np.indices(here.shape).sum(axis=0)[here] % 2
            picture[here] = np.array(colors, dtype=np.float32)[checkered]
        return picture

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (*self.level.cells.shape, JUMP + 1)

    @functools.cached_property
    def _windows(self) -> Picture:
        """A view of what is seen with the runner's cell at each pixel of the picture; black beyond the level."""
        beyond = [(ABOVE * PIXELS,) * 2, (BEHIND * PIXELS, AHEAD * PIXELS), (0, 0)]
        return np.lib.stride_tricks.sliding_window_view(np.pad(self.picture, beyond), VIEW[1:], axis=(0, 1))

    def _solid(self, row: Ints, column: Ints) -> NDArray[np.bool_]:
        """Whether cells are solid, as everything beyond the level is."""
        bordered = np.pad(self.level.cells, 1, constant_values=Cell.SOLID)
        return np.asarray(bordered[row + 1, column + 1] == Cell.SOLID)

    def _everywhere(self, cell: Cell) -> NDArray[np.bool_]:
        """(S,) whether the runner's cell holds this."""
        return np.repeat((self.level.cells == cell).ravel(), JUMP + 1)


def _cell(row: int, column: int) -> tuple[slice, slice]:
    """Where the pixels of a cell are, in rows from the top and columns."""
    return slice(row * PIXELS, (row + 1) * PIXELS), slice(column * PIXELS, (column + 1) * PIXELS)
