"""Selection rules: which checkpoint counts. No number is reported without its rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from holdfast.core.errors import UserError
from holdfast.core.registry import Plugin, register
from holdfast.core.task import Role
from holdfast.training.records import Record


class SelectionRule(Plugin):
    """Chooses a step from records of the kept checkpoints: the best score, of equals the least loss, then the earliest.

    Attributes:
        role: The role whose records it looks at; None if it looks at none.
        groups: Whether it needs the groups of those rows.
        oracle: True if it looks at test rows, which every report marks.
    """

    family: ClassVar[str] = "rule"
    role: ClassVar[Role | None] = "selection"
    groups: ClassVar[bool] = False
    oracle: ClassVar[bool] = False

    def choose(self, records: Sequence[Record]) -> int:
        """The step of the best checkpoint.

        Args:
            records: Of all kept checkpoints, of the splits in the rule's role.

        Raises:
            UserError: There is no record to choose by.
        """
        steps = sorted({r.step for r in records})
        if not steps:
            raise UserError(f"selection rule {self.name!r} needs rows in role {self.role!r}: use --select last")
        return max(steps, key=lambda step: (*self.merit([r for r in records if r.step == step]), -step))

    def merit(self, records: Sequence[Record]) -> tuple[float, float]:
        """How good a checkpoint with these records is: score, then minus loss."""
        raise NotImplementedError


@register
@dataclass(frozen=True, kw_only=True)
class Last(SelectionRule):
    """The last checkpoint: no selection."""

    role: ClassVar[Role | None] = None

    def choose(self, records: Sequence[Record]) -> int:
        return max(r.step for r in records)


@register
@dataclass(frozen=True, kw_only=True)
class Validation(SelectionRule):
    """Mean over training environments of the score on their selection rows (training-domain validation)."""

    def merit(self, records: Sequence[Record]) -> tuple[float, float]:
        return _mean([r for r in records if r.environment is not None])


@register
@dataclass(frozen=True, kw_only=True)
class WorstGroup(SelectionRule):
    """Worst group of the selection rows: needs their attribute labels."""

    groups: ClassVar[bool] = True

    def merit(self, records: Sequence[Record]) -> tuple[float, float]:
        return _worst([r for r in records if r.group is not None])


@register
@dataclass(frozen=True, kw_only=True)
class WorstEnvironment(SelectionRule):
    """Worst training environment on its selection rows."""

    def merit(self, records: Sequence[Record]) -> tuple[float, float]:
        return _worst([r for r in records if r.environment is not None])


@register
@dataclass(frozen=True, kw_only=True)
class Oracle(SelectionRule):
    """Mean score on the test rows themselves: an upper bound, never a result."""

    role: ClassVar[Role | None] = "test"
    oracle: ClassVar[bool] = True

    def merit(self, records: Sequence[Record]) -> tuple[float, float]:
        return _mean([r for r in records if r.environment is None and r.group is None])


def _mean(records: Sequence[Record]) -> tuple[float, float]:
    records = _some(records)
    return sum(r.score for r in records) / len(records), -sum(r.loss for r in records) / len(records)


def _worst(records: Sequence[Record]) -> tuple[float, float]:
    worst = min(_some(records), key=lambda r: (r.score, -r.loss))
    return worst.score, -worst.loss


def _some(records: Iterable[Record]) -> list[Record]:
    found = list(records)
    if not found:
        raise UserError(
            "the selection rows have no column for this rule: name one with --group or use another --select"
        )
    return found
