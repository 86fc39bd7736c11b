"""What a run has cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Ledger:
    """Costs of one cell, counted where they arise.

    Attributes:
        steps: Updates made.
        gradients: Per-example gradients taken (rows × backward passes through them).
        forwards: Rows sent through a model in training.
        labels: Labels seen, by role.
        seconds: Wall-clock seconds in training, by stage, and under ``outside`` what a method did outside of stages.
            Of a training that was stopped and gone on with, all but what had to be done again.
    """

    steps: int = 0
    gradients: int = 0
    forwards: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def add(self, other: Ledger) -> None:
        """Add the work of another ledger; labels of a role are counted once."""
        self.steps += other.steps
        self.gradients += other.gradients
        self.forwards += other.forwards
        self.labels = {**other.labels, **self.labels}
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
