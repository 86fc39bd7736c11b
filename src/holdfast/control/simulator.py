"""Runs of a policy in many levels of the grid runner at once.

Shapes: N levels, M of their runs that still go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from holdfast.control.grid_runner import STEP_LIMIT, GridRunner
from holdfast.core.simulator import Policy, Rollouts


@dataclass(frozen=True, eq=False)
class GridRunnerSimulator:
    """The levels of a task, to be played; a :class:`~holdfast.core.simulator.Simulator`.

    Attributes:
        runners: The levels of each split by its name.
    """

    runners: Mapping[str, Sequence[GridRunner]]

    def rollouts(self, policy: Policy, split: str) -> Rollouts:
        """One run in each of N levels, from its start until it ends, or for four times as many steps as it is wide."""
        runners = self.runners[split]
        states = np.array([runner.index(runner.start) for runner in runners])
        steps = np.zeros(len(runners), dtype=np.int64)
        for _ in range(STEP_LIMIT):
            live = [n for n, runner in enumerate(runners) if not runner.ended[states[n]]]
            if not live:
                break
            seen = np.concatenate([runners[n].observe(states[n : n + 1]) for n in live])
            for n, action in zip(live, policy(torch.from_numpy(seen)).tolist(), strict=True):
                states[n] = runners[n].transitions[states[n], action]
            steps[live] += 1
        won = [bool(runner.won[state]) for runner, state in zip(runners, states, strict=True)]
        return Rollouts(torch.tensor(won), torch.from_numpy(steps))
