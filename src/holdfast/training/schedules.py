"""Schedules: how much penalties count as training goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When penalties switch on; progress runs from 0 to 1 over the budget.

    Attributes:
        penalty_from: Progress from which penalties count fully.
        penalty_before: Their factor until then.
        reset_optimizer: Forget the optimizer's moments when the penalties switch on, because their scale changes.
    """

    penalty_from: float = 0.0
    penalty_before: float = 0.0
    reset_optimizer: bool = True

    def penalty_factor(self, progress: float) -> float:
        """The factor on every penalty."""
        return 1.0 if progress >= self.penalty_from else self.penalty_before
