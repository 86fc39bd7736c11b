"""What a model relies on, and where that does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from holdfast.core.artifacts import Matrix, Table
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Kind, TaskData
from holdfast.evaluations.contributions import Contribution, Exchanges
from holdfast.evaluations.sampled import FEWEST_ROWS, even_rows
from holdfast.evaluations.scored import Level
from holdfast.perturbations import Swap, exchangeable
from holdfast.statistics import simultaneous_level

UNITS: dict[Kind, str] = {
    "classification": "probability of the true class",
    "regression": "squared error over the label's variance",
}


MOST_SHOWN = 12
"""Parts in the overview."""


@register
@dataclass(frozen=True, kw_only=True)
class Reliance(Evaluation):
    """What a model draws from each part of its rows in each environment: what it loses when rows exchange that part.

    Rows of one environment exchange one column, factor or part of a picture (see :mod:`holdfast.perturbations`) at
    random and keep everything else. The *contribution* of the part there is the mean fall of the probability that the
    model gives to the true class (for regression: the rise of the squared error, as a share of the label's variance);
    its *use* is the mean change of the predicted distribution (total variation; for regression the mean change of the
    prediction over the label's standard deviation). A part that says nothing of the label in an environment
    contributes nothing there, whatever the model does; one that misleads contributes less than nothing. So a
    contribution below zero, or one that vanishes in one environment while the part is used there as in another where
    it contributes, is evidence of a shortcut. Where all rows come from one environment only the first can show.
    A part that is doubtful only because it carries another (a region, the color) is not named: what is named
    remains doubtful once the parts named before it are exchanged.

    Exchanging inputs is A. Fisher, C. Rudin, F. Dominici, *All models are wrong, but many are useful: learning a
    variable's importance by studying an entire class of prediction models simultaneously*, JMLR 2019,
    arXiv:1801.01489, after L. Breiman, *Random forests*, 2001. Doing it within environments and comparing them is
    this library's own. What is measured is the model, not the world: a part may contribute little because another
    says the same, and exchanged rows may be unlike any real ones.

    Rows of test splits of known environment are used. Intervals are of Student's t over rows or units, and hold
    together over all parts and environments.

    Attributes:
        rounds: How often each part is exchanged.
        max_rows: So many rows are used at most, evenly from the environments.
        least: Contributions below this share are no reason for an alarm.
        vanishing: An alarm is raised where a contribution per use is below this fraction of the best one.
        level: Of the intervals.
    """

    rounds: Annotated[int, Range(low=1)] = 2
    max_rows: Annotated[int, Range(low=FEWEST_ROWS)] = 10_000
    least: Annotated[float, Range(0.0, 1.0)] = 0.02
    vanishing: Annotated[float, Range(0.0, 1.0)] = 0.3
    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        rows = even_rows(task, self.max_rows, rng)
        start, swaps = exchangeable(task, rows) if rows is not None else (None, ())
        if rows is None or start is None or not swaps:
            return Result()
        each = simultaneous_level(self.level, len(swaps) * len(rows.environment.present()))
        exchanges = Exchanges(predictor, task.kind, rows, start, self.rounds, each)
        parts = [_Part(swap, exchanges.contributions(swap, rng)) for swap in swaps]
        parts.sort(key=lambda part: -part.most)
        doubts = self._doubts(parts, exchanges, rng)
        good = [part for part in parts if part.most >= self.least and not self._doubt(part)]
        findings = [*(doubt.finding(task.kind) for doubt in doubts), *_trusted(good)]
        measurements = [
            _measurement(part.swap.part, contribution, self.level, "row" if rows.unit is None else "unit")
            for part in parts
            for contribution in part.contributions
        ]
        shown = (_overview(parts, task.kind), _table(parts, self.level, task.kind))
        return Result(tuple(measurements), shown, tuple(findings))

    def _doubts(self, parts: Sequence[_Part], exchanges: Exchanges, rng: np.random.Generator) -> list[_Doubt]:
        """The doubtful parts, the largest doubt first; each remains doubtful once those before it are exchanged."""
        first = [(part, doubt) for part in parts if (doubt := self._doubt(part))]
        named: list[Swap] = []
        doubts = []
        for part, doubt in sorted(first, key=lambda pair: -pair[1].size):
            alone = _Part(part.swap, exchanges.contributions(part.swap, rng, named)) if named else part
            if self._doubt(alone):
                named.append(part.swap)
                doubts.append(doubt)
        return doubts

    def _doubt(self, part: _Part) -> _Doubt | None:
        """Where a part misleads, or else does not contribute though it does elsewhere; None where neither shows."""
        name, contributions = part.swap.part, part.contributions
        best = max(contributions, key=lambda c: c.low)
        misled = [c for c in contributions if c.high < 0 and c.value <= -self.least]
        if misled:
            return _Doubt(name, min(misled, key=lambda c: c.value), best if best.low > 0 else None)
        if best.low <= 0 or best.value < self.least:
            return None
        empty = [c for c in contributions if c.vanishes(best, self.vanishing)]
        return _Doubt(name, min(empty, key=lambda c: c.value), best) if empty else None


@dataclass(frozen=True)
class _Part:
    swap: Swap
    contributions: tuple[Contribution, ...]

    @property
    def most(self) -> float:
        """The largest contribution, or harm, in any environment."""
        return max(abs(c.value) for c in self.contributions)


@dataclass(frozen=True)
class _Doubt:
    """Where a part does not hold, and the environment where it does most, if any."""

    part: str
    worst: Contribution
    best: Contribution | None

    @property
    def size(self) -> float:
        return (self.best.value if self.best else 0.0) - self.worst.value

    def finding(self, kind: Kind) -> Finding:
        """One sentence."""
        there, amount = self.worst.environment, f"{_points(self.worst)} of {UNITS[kind]}"
        how = "misleads it" if self.worst.high < 0 else "says next to nothing"
        text = f"The model relies on {self.part!r}, which {how} in {there!r}: what it contributes there is {amount}"
        if self.best:
            text += f", against {_points(self.best)} in {self.best.environment!r}"
        return Finding(self.part, text + ".", alarm=True)


def _trusted(good: Sequence[_Part]) -> list[Finding]:
    """One finding on the parts that the model draws most from, of those that no environment speaks against."""
    if not good:
        return []
    shown = ", ".join(f"{part.swap.part!r} (up to {100 * part.most:.1f} points)" for part in good[:3])
    several = len(good[0].contributions) > 1
    against = ", and no environment speaks against it" if several else ": of one environment, nothing can contradict it"
    return [Finding("", f"The model draws most from {shown}{against}.")]


def _measurement(part: str, c: Contribution, level: float, unit: str) -> Measurement:
    return Measurement(
        metric=f"contribution of {part}",
        value=c.value,
        split="test",
        n=c.n,
        low=c.low,
        high=c.high,
        interval="simultaneous t",
        level=level,
        unit=unit,
        environment=c.environment,
    )


def _overview(parts: Sequence[_Part], kind: Kind) -> Matrix:
    """The contributions of the parts that matter most."""
    shown = parts[:MOST_SHOWN]
    return Matrix(
        "what each part contributes in each environment",
        values=tuple(tuple(100 * c.value for c in part.contributions) for part in shown),
        rows=tuple(part.swap.part for part in shown),
        columns=tuple(c.environment for c in shown[0].contributions),
        x_label="environment",
        y_label="part",
        caption=f"Points of {UNITS[kind]} that are lost when rows of an environment exchange the part. Below zero, in "
        "another color, it misleads.",
    )


def _table(parts: Sequence[_Part], level: float, kind: Kind) -> Table:
    lines = [
        (part.swap.part, c.environment, c.n, *(100 * number for number in (c.value, c.low, c.high, c.use)))
        for part in parts
        for c in part.contributions
    ]
    return Table(
        "contributions with their intervals",
        ("part", "environment", "rows", "contribution", "low", "high", "use"),
        tuple(lines),
        f"In points of {UNITS[kind]}. Intervals hold together at level {level:g}. Use: how far predictions move. "
        "What is measured is the model: a part may contribute little because another says the same.",
    )


def _points(c: Contribution) -> str:
    """``−2.6 points [−8.0, 2.7]``."""
    return f"{100 * c.value:.1f} points [{100 * c.low:.1f}, {100 * c.high:.1f}]".replace("-", "−")
