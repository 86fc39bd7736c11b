"""The grid runner behind the interface of gymnasium."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.control.grid_runner import STEP_LIMIT, VIEW, Action, GridRunner
from holdfast.core.errors import MissingExtra, UserError


def gymnasium_env(runners: Sequence[GridRunner]) -> Any:
    """An environment of gymnasium that plays some levels.

    ``reset`` draws a level, or takes that of ``options={"level": i}``. Observations are what the runner sees, as
    float32 of shape (3, 14, 18) in [0, 1]; the reward is 1 at the coin and 0 before; ``info`` holds the level and the
    runner's state. A run is truncated after 160 steps. ``render`` gives the whole level as an (H·P, W·P, 3) array of
    bytes in which the runner is blue.

    Args:
        runners: The levels.

    Raises:
        MissingExtra: gymnasium is not installed.
        UserError: There is no level.
    """
    try:
        import gymnasium
    except ImportError:
        raise MissingExtra("gymnasium", "control") from None
    if not runners:
        raise UserError("there is no level to play: give one at least")

    class GridRunnerEnv(gymnasium.Env):  # type: ignore[misc]  # the extra may be absent where types are checked
        metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # gymnasium's own way
        render_mode = "rgb_array"
        observation_space = gymnasium.spaces.Box(0.0, 1.0, VIEW, np.float32)
        action_space = gymnasium.spaces.Discrete(len(Action))

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            super().reset(seed=seed)
            self.level = _chosen(len(runners), self.np_random, options)
            self.runner = runners[self.level]
            self.state, self.steps = self.runner.start, 0
            return self._observation(), self._info()

        def step(self, action: int) -> tuple[Any, float, bool, bool, Any]:
            self.state, self.steps = self.runner.step(self.state, Action(action)), self.steps + 1
            won = self.runner.reached(self.state)
            ended = won or self.runner.dead(self.state)
            return self._observation(), float(won), ended, self.steps >= STEP_LIMIT and not ended, self._info()

        def render(self) -> Any:
            return (255 * self.runner.picture_of(self.state)).round().astype(np.uint8)

        def _observation(self) -> Any:
            return self.runner.observe(np.array([self.runner.index(self.state)]))[0]

        def _info(self) -> dict[str, Any]:
            return {"level": self.level, "state": self.state}

    return GridRunnerEnv()


def _chosen(levels: int, rng: np.random.Generator, options: dict[str, Any] | None) -> int:
    """The level that the options name, or one at random."""
    level = (options or {}).get("level")
    if level is None:
        return int(rng.integers(levels))
    if level not in range(levels):
        raise UserError(f"there is no level {level!r}: name one of 0 … {levels - 1}")
    return int(level)
