"""Reproductions: published claims and the smallest honest experiments that can refute them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from holdfast.core.registry import Plugin

Verdict = Literal["holds", "fails", "inconclusive"]


@dataclass(frozen=True)
class Estimate:
    """A measured quantity over n seeds, with its interval where there is one."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Finding:
    """What a reproduction found.

    Attributes:
        verdict: ``holds`` or ``fails`` only where the measured intervals decide; else ``inconclusive``.
        measured: Name of a quantity to its estimate.
        reason: One sentence: which condition decided.
    """

    verdict: Verdict
    measured: Mapping[str, Estimate]
    reason: str


class Reproduction(Plugin):
    """A published claim; a frozen dataclass whose fields are the settings of its experiment.

    Attributes:
        claim: What the paper says, in one sentence.
        published: The published figures, in words.
        source: Authors, title, year, arXiv id.
        uses: References of the tasks and methods whose versions the verdict depends on, as ``(family, name)``.
    """

    family: ClassVar[str] = "reproduction"
    claim: ClassVar[str]
    published: ClassVar[str]
    source: ClassVar[str]
    uses: ClassVar[tuple[tuple[str, str], ...]] = ()

    def reproduce(self) -> Finding:
        """Run the experiment."""
        raise NotImplementedError

    def versions(self) -> dict[str, int]:
        """Versions of this claim and of the plug-ins it uses: a stored verdict with others is stale."""
        from holdfast.core.registry import lookup

        own: dict[str, Any] = {self.name: self.version}
        return {**own, **{f"{family} {name}": lookup(family, name).version for family, name in self.uses}}
