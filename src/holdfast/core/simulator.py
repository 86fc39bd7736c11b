"""Simulators: live environments in which a task's policy can be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Policy = Callable[[Tensor], Tensor]
"""From observations (M, …) to actions (M,)."""


@dataclass(frozen=True)
class Rollouts:
    """One run in each of N environments.

    Attributes:
        success: (N,) bool, whether the run reached its end.
        steps: (N,) int64 actions taken.
    """

    success: Tensor
    steps: Tensor


class Simulator(Protocol):
    """The live environments that the rows of a task were recorded in."""

    def rollouts(self, policy: Policy, split: str) -> Rollouts:
        """A run of a policy in each environment of a split; the same policy gives the same runs.

        Args:
            policy: Is given observations like the task's inputs, of several runs at once.
            split: Its name.
        """
        ...
