"""Schedules: factors on the learning rate and on the penalties as training goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate and the weight of the penalties change; progress runs from 0 to 1 over the budget.

    Attributes:
        drops: Progress at which the learning rate is multiplied by ``drop_factor``.
        drop_factor: In (0, 1].
        decay: The learning rate is multiplied by this at every step; 1 leaves it.
        penalty_from: Progress from which penalties count fully.
        penalty_before: Their factor until then.
        reset_optimizer: Forget the optimizer's moments when the penalties switch on, because their scale changes.
    """

    drops: tuple[float, ...] = ()
    drop_factor: float = 0.1
    decay: float = 1.0
    penalty_from: float = 0.0
    penalty_before: float = 0.0
    reset_optimizer: bool = True

    def lr_factor(self, step: int, progress: float) -> float:
        """The factor on the learning rate of this step."""
        return float(self.decay**step * self.drop_factor ** sum(progress >= drop for drop in self.drops))

    def penalty_factor(self, progress: float) -> float:
        """The factor on every penalty."""
        return 1.0 if progress >= self.penalty_from else self.penalty_before
