"""The exact planner of the grid runner, and the states that its expert visits.

Shapes: S states of a level, A actions, N of the states.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.control.grid_runner import Action, GridRunner, Ints
from holdfast.control.levels import draw_level
from holdfast.core.seeds import numpy_rng

NOISE = 0.1
"""Share of random actions in the runs whose states are learned from."""
_VISITS_PER_ROW = 4


@dataclass(frozen=True, eq=False)
class Plan:
    """What is best in every state of a level, by breadth-first search backward from the coin.

    Attributes:
        runner: The level with its rules.
    """

    runner: GridRunner

    @functools.cached_property
    def distances(self) -> NDArray[np.float64]:
        """(S,) least number of steps to the coin; infinite where it cannot be reached any more."""
        distances = np.where(self.runner.won, 0.0, np.inf)
        for steps in itertools.count(1):
            one_step_away = np.isinf(distances) & np.isfinite(distances[self.runner.transitions]).any(axis=1)
            if not one_step_away.any():
                break
            distances[one_step_away] = steps
        return distances

    @functools.cached_property
    def best(self) -> NDArray[np.bool_]:
        """(S, A) whether an action is the first of a shortest way; none is at the coin or where there is no way."""
        nearer = self.distances[self.runner.transitions] == self.distances[:, None] - 1
        return np.asarray(nearer & self.undecided[:, None])

    @functools.cached_property
    def undecided(self) -> NDArray[np.bool_]:
        """(S,) whether the run goes on and can still be won: only then does an action matter."""
        return np.asarray(np.isfinite(self.distances) & ~self.runner.ended)

    @functools.cached_property
    def actions(self) -> Ints:
        """(S,) the expert's action: of the best ones the first in the order of :class:`Action`."""
        return np.asarray(self.best.argmax(axis=1))

    @property
    def targets(self) -> NDArray[np.float64]:
        """(S, A) the soft target: uniform over the best actions, zero where there is none."""
        return np.asarray(self.best / np.maximum(self.best.sum(axis=1, keepdims=True), 1))

    @property
    def start(self) -> int:
        """The number of the state in which a run begins."""
        return self.runner.index(self.runner.start)

    @property
    def solvable(self) -> bool:
        """Whether the coin can be reached from the start."""
        return bool(self.undecided[self.start])


def solvable_level(seed: int, *names: str | int) -> Plan:
    """The plan of the first level of a random stream that can be solved.

    Of 2,000 levels drawn, 306 (15 %) could not be solved and were left out.

    Args:
        seed: Root of the stream.
        names: Of the stream.
    """
    layout, scenery = (numpy_rng(seed, *names, part) for part in ("layout", "scenery"))
    plans = (Plan(GridRunner(draw_level(layout, scenery))) for _ in itertools.count())
    return next(plan for plan in plans if plan.solvable)


def visited_states(plan: Plan, count: int, rng: np.random.Generator) -> Ints:
    """(N,) states that an expert visits who acts at random in a tenth of the steps, as DAgger gathers them.

    States are drawn from four times as many visits in whole runs, not in the order of time; a state that is visited
    often comes often. States in which no action matters any more end a run and are left out: the expert has no label
    for them. After Ross, Gordon, Bagnell, *A reduction of imitation learning and structured prediction to no-regret
    online learning*, AISTATS 2011, arXiv:1011.0686.

    Args:
        plan: Of a level that can be solved.
        count: N.
        rng: The random stream.
    """
    visits: list[Ints] = []
    while sum(map(len, visits)) < _VISITS_PER_ROW * count:
        visits += _runs(plan, 1 + _VISITS_PER_ROW * count // int(plan.distances[plan.start]), rng)
    return rng.choice(np.concatenate(visits), count, replace=False)


def _runs(plan: Plan, runs: int, rng: np.random.Generator) -> Iterator[Ints]:
    """The states at each time of several runs from the start, of those that go on."""
    states = np.full(runs, plan.start)
    while len(states):
        yield states
        random = rng.random(len(states)) < NOISE
        actions = np.where(random, rng.integers(len(Action), size=len(states)), plan.actions[states])
        states = plan.runner.transitions[states, actions]
        states = states[plan.undecided[states]]
