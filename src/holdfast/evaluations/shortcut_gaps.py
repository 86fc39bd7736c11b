"""What each shortcut, and each set of shortcuts, costs where it is broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.artifacts import Table
from holdfast.core.data import Dataset
from holdfast.core.errors import unknown_name
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.registry import register
from holdfast.core.task import TaskData, concatenated_columns
from holdfast.evaluations.scored import Level, ScoredRows, measured_splits, score
from holdfast.statistics import simultaneous_level
from holdfast.statistics.shortcut_gaps import CellAccuracies, Gap, cells_of, over_represented

Codes = NDArray[np.intp]

MOST_SHORTCUTS = 4
FEWEST_PER_VALUE = 5
"""Columns with fewer training rows per value are no shortcuts: what goes with their values cannot be told."""

LEAST = 0.05
"""A gap surely below minus this is an alarm."""

ONLY_COLUMNS = (
    "The rows are as they were found, none was changed: a gap says where the model fails, and rows of broken "
    "shortcuts may differ in other ways, too. That the model reads the shortcut is likely but not shown; that it does "
    "not fail there is shown. With features beside the shortcut, `matched-pairs` compares rows that are equal in them."
)


@register
@dataclass(frozen=True, kw_only=True)
class ShortcutGaps(Evaluation):
    """Accuracy where exactly some shortcuts are broken, less accuracy in distribution: the gap of each set of them.

    A shortcut is an attribute column whose values each go with a class; it is broken in rows of another class.
    Accuracy in distribution is that of the cells (which shortcuts are broken) weighted as in training, so that test
    splits may have any shares of them; rows of all test splits are used together. *Unbiased accuracy* is the mean over
    all combinations of a label and values of the shortcuts that occur. A method that closes the gap of one
    shortcut and widens that of another plays Whac-A-Mole: compare methods gap by gap. Z. Li et al., *A Whac-A-Mole
    dilemma: shortcuts come in multiples where mitigating one amplifies others*, CVPR 2023, arXiv:2212.04825.

    Which class goes with a value is what the task states, otherwise the class that is most over-represented in the
    training rows of that value; then a finding says so. Without a name the first four columns with associations are
    the shortcuts. Intervals are exact in each cell where rows are independent, combined by the method of variance
    estimates recovery, and hold together over all gaps.

    Attributes:
        shortcuts: Columns, four at most; those that the task states or has as groups where none is named.
        level: Of the intervals.
    """

    version = 2
    kinds = ("classification",)
    shortcuts: tuple[str, ...] = ()
    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        splits = measured_splits(task, ("test",))
        training = [split.data for split in task.with_role("train") if split.data.y is not None]
        if not splits or not training:
            return Result()
        train, test = concatenated_columns(training), concatenated_columns([split.data for split in splits])
        found, remarks = self._shortcuts(task, train)
        if not found:
            return Result(findings=tuple(Finding("", remark) for remark in remarks))
        rows = _together([score(predictor, split) for split in splits])
        cells = _Cells.of(found, train, test)
        each = simultaneous_level(self.level, 2 ** len(found) - 1)
        accuracies = cells.accuracies(rows, rng, each)
        gaps = [accuracies.gap(cell) for cell in sorted(range(1, 2 ** len(found)), key=lambda c: (c.bit_count(), c))]
        measurements = [
            *(_measurement(cells.name(gap.cell), gap, self.level, rows) for gap in gaps),
            self._accuracy("accuracy in distribution", accuracies, rows),
            self._accuracy("unbiased accuracy", cells.unbiased(rows, rng, self.level), rows),
        ]
        findings = (*_alarms(cells, gaps), *(Finding("", remark) for remark in (*remarks, *cells.remarks(accuracies))))
        if task.render is None:
            findings = (*findings, Finding("", ONLY_COLUMNS))
        return Result(tuple(measurements), (_table(cells, accuracies, gaps, self.level),), findings)

    def _accuracy(self, metric: str, cells: CellAccuracies, rows: ScoredRows) -> Measurement:
        """The mean over cells, weighted by their shares."""
        low, high = cells.in_distribution_interval
        return Measurement(
            metric=metric,
            value=cells.in_distribution,
            split=rows.split,
            n=int(cells.counts.sum()),
            low=low,
            high=high,
            interval="" if low is None else "mover",
            level=self.level,
            unit="row" if rows.unit is None else "unit",
            note="it needs rows of every cell" if np.isnan(cells.in_distribution) else "",
        )

    def _shortcuts(self, task: TaskData, train: Dataset) -> tuple[dict[str, Codes], list[str]]:
        """For each shortcut (V,) the class that goes with each value, and remarks on how that was found."""
        for name in self.shortcuts:
            if name not in train.attributes:
                raise unknown_name("shortcut", name, train.attributes)
        stated = {name: np.array(classes) for name, classes in task.associations.items() if classes}
        known = {name: classes for name, classes in stated.items() if name in train.attributes}
        wanted = self.shortcuts or tuple(known or task.groups or train.attributes)
        remarks, usable = [], []
        for name in wanted:
            reason = _useless(train, name)
            if reason:
                remarks.append(f"{name!r} is left out: {reason}.")
            else:
                usable.append(name)
        if len(usable) > MOST_SHORTCUTS:
            remarks.append(
                f"{', '.join(usable[MOST_SHORTCUTS:])} left out: at most {MOST_SHORTCUTS} shortcuts at once."
            )
        usable = usable[:MOST_SHORTCUTS]
        guessed = [name for name in usable if name not in known]
        if guessed:
            remarks.append(
                f"Which class goes with a value of {', '.join(map(repr, guessed))} is not known to the task: it is "
                "taken to be the one most over-represented there in the training rows."
            )
        if not wanted:
            remarks.append("There is no column that could be a shortcut.")
        return {name: known[name] if name in known else _estimated(task, train, name) for name in usable}, remarks


@dataclass(frozen=True, eq=False)
class _Cells:
    """Which shortcuts are broken in which rows.

    Attributes:
        shortcuts: Their names.
        shares: (2^S,) of the training rows.
        cell: (N,) of the test rows; −1 where a shortcut has an unknown value.
        combination: (N,) codes of the values of the label and all shortcuts in the test rows.
    """

    shortcuts: tuple[str, ...]
    shares: NDArray[Any]
    cell: Codes
    combination: Codes

    @staticmethod
    def of(found: Mapping[str, Codes], train: Dataset, test: Dataset) -> _Cells:
        cells = _cells(found, train)
        weight = np.ones(len(train)) if train.weight is None else train.weight.double().numpy()
        shares = np.bincount(cells[cells >= 0], weight[cells >= 0], minlength=2 ** len(found))
        values = np.stack([test.labels.numpy(), *(test.attributes[name].codes.numpy() for name in found)], axis=1)
        combination = np.unique(values, axis=0, return_inverse=True)[1]
        return _Cells(tuple(found), shares, _cells(found, test), combination)

    def name(self, cell: int) -> str:
        """``color and texture broken``."""
        broken = [name for place, name in enumerate(self.shortcuts) if cell >> place & 1]
        return f"{' and '.join(broken)} broken" if broken else "none broken"

    def accuracies(self, rows: ScoredRows, rng: np.random.Generator, level: float) -> CellAccuracies:
        """By which shortcuts are broken."""
        return self._accuracies(self.cell, self.shares, rows, rng, level)

    def unbiased(self, rows: ScoredRows, rng: np.random.Generator, level: float) -> CellAccuracies:
        """By values of the label and all shortcuts: each combination that occurs counts the same."""
        present = np.unique(self.combination[self.cell >= 0], return_inverse=True)
        combination = np.full(len(self.cell), -1)
        combination[self.cell >= 0] = present[1]
        return self._accuracies(combination, np.ones(len(present[0])), rows, rng, level)

    def _accuracies(
        self, cells: Codes, shares: NDArray[Any], rows: ScoredRows, rng: np.random.Generator, level: float
    ) -> CellAccuracies:
        known = cells >= 0
        return CellAccuracies.of(
            (rows.scores.argmax(axis=1) == rows.y)[known],
            cells[known],
            shares,
            rng=rng,
            weights=None if rows.weight is None else rows.weight[known],
            units=None if rows.unit is None else rows.unit[known],
            level=level,
        )

    def remarks(self, accuracies: CellAccuracies) -> Iterator[str]:
        """On what is missing."""
        empty = [self.name(cell) for cell in np.flatnonzero(accuracies.counts == 0).tolist()]
        if empty:
            text = f"No test row has {', or '.join(empty)}"
            if np.isnan(accuracies.in_distribution):
                text += (
                    f": they are {100 * accuracies.missing:.1f} % in training, so accuracy in distribution is unknown"
                )
            yield text + "."
        if accuracies.counts[1:].sum() == 0:
            yield "In no test row does a shortcut go with another class than the label: there is no gap to measure."


def _cells(found: Mapping[str, Codes], data: Dataset) -> Codes:
    """(N,) cells, −1 where a value is unknown or was not seen in training."""
    goes_with = [np.append(classes, -1)[data.attributes[name].codes.numpy()] for name, classes in found.items()]
    classes = np.stack(goes_with, axis=1)
    cells = cells_of(classes != data.labels.numpy()[:, None])
    return np.where((classes >= 0).all(axis=1), cells, -1)


def _useless(train: Dataset, name: str) -> str:
    """Why a column can be no shortcut; empty where it can."""
    levels = len(train.attributes[name].present())
    if levels < 2:
        return "it has one value only in the training rows"
    if levels * FEWEST_PER_VALUE > len(train):
        return f"it has {levels} values in {len(train)} training rows, so that what goes with each cannot be told"
    return ""


def _estimated(task: TaskData, train: Dataset, name: str) -> Codes:
    column = train.attributes[name]
    codes = column.codes.numpy()
    known = codes >= 0
    return over_represented(train.labels.numpy()[known], codes[known], len(task.classes), len(column.names))


def _together(parts: Sequence[ScoredRows]) -> ScoredRows:
    """The rows of several splits as one; weights and units only where all have them."""
    weights, units = [part.weight for part in parts], [part.unit for part in parts]
    return ScoredRows(
        "test",
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.scores for part in parts]),
        None if any(w is None for w in weights) else np.concatenate([w for w in weights if w is not None]),
        None if any(u is None for u in units) else np.concatenate([u for u in units if u is not None]),
    )


def _measurement(name: str, gap: Gap, level: float, rows: ScoredRows) -> Measurement:
    reason = "" if not np.isnan(gap.value) else "no such test row" if not gap.n else "accuracy in distribution unknown"
    return Measurement(
        metric=f"gap, {name}",
        value=gap.value,
        split=rows.split,
        n=gap.n,
        low=gap.low,
        high=gap.high,
        interval="" if gap.low is None else "simultaneous mover",
        level=level,
        unit="row" if rows.unit is None else "unit",
        note=reason,
    )


def _alarms(cells: _Cells, gaps: Sequence[Gap]) -> Iterator[Finding]:
    """One on the widest gap that is surely wide."""
    wide = [gap for gap in gaps if gap.high is not None and gap.high < -LEAST]
    if wide:
        worst = min(wide, key=lambda gap: gap.value)
        assert worst.low is not None
        assert worst.high is not None
        value, low, high = (f"{100 * v:.1f}".replace("-", "−") for v in (worst.value, worst.low, worst.high))
        name = cells.name(worst.cell)
        go = "go" if worst.cell.bit_count() > 1 else "goes"
        text = f"Where {name.removesuffix(' broken')} {go} with another class, accuracy is {100 * worst.accuracy:.1f} %"
        yield Finding(name, f"{text}, {value} points [{low}, {high}] from what it is in distribution.", alarm=True)


def _table(cells: _Cells, accuracies: CellAccuracies, gaps: Sequence[Gap], level: float) -> Table:
    def points(value: float | None) -> float | str:
        return "" if value is None or np.isnan(value) else 100 * value

    shares = 100 * accuracies.shares
    lines = [("none broken", int(accuracies.counts[0]), float(shares[0]), points(accuracies.accuracy[0]), "", "", "")]
    lines += [
        (cells.name(g.cell), g.n, float(shares[g.cell]), *map(points, (g.accuracy, g.value, g.low, g.high)))  # type: ignore[misc]
        for g in gaps
    ]
    known = "unknown" if np.isnan(accuracies.in_distribution) else f"{100 * accuracies.in_distribution:.1f} %"
    return Table(
        "the gap of every set of shortcuts",
        ("where", "test rows", "% of training", "accuracy", "gap", "low", "high"),
        tuple(lines),
        "A shortcut is broken where its value goes with another class than the label. Gap: accuracy there less "
        f"accuracy in distribution ({known}: the cells weighted as in training), in points. "
        f"Intervals hold together at level {level:g}.",
    )
