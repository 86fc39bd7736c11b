"""Auditing: every question to one model on one task, and the answer in plain words."""

from __future__ import annotations

import dataclasses
import html
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.core.artifacts import Artifact
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.predictors import cached
from holdfast.core.registry import create
from holdfast.core.seeds import numpy_rng
from holdfast.core.task import Kind, TaskData
from holdfast.core.words import count
from holdfast.evaluations.scored import headline, measured_splits
from holdfast.experiments.numbers import NumberFormat
from holdfast.experiments.provenance import provenance

QUESTIONS: Mapping[str, str] = {
    "reliance": "What does it rely on, and where does that not hold?",
    "worst-group": "Whom does it serve worst?",
    "reweighted": "What if a column no longer went with the label?",
    "matched-pairs": "How does it treat rows that differ in one attribute only?",
    "subgroups": "Where does it fail?",
    "clusters": "Which kinds of rows does it fail on?",
    "environment-shift": "What changes between environments?",
    "calibration-by-environment": "Can its probabilities be trusted?",
    "agreement": "Do environments ask for the same?",
    "cheap-repairs": "What would a cheap repair buy?",
    "performance": "How good is it?",
}
"""The evaluations of an audit, in the order of the page, with the question that each answers."""

SIMPLY_WORSE = ("subgroups", "clusters")
FEWEST = 20
"""Test rows below which nothing is audited."""


@dataclass(frozen=True)
class Subject:
    """What is audited, in the user's words.

    Attributes:
        model, data: Their names.
        command: That asked for the audit.
        notes: On the model, such as how its outputs are read.
    """

    model: str = "model"
    data: str = "data"
    command: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What was found out about a model.

    Attributes:
        subject: What was audited.
        kind: Of the task.
        rows: How many test rows there are, by environment.
        notes: On the model and the task.
        pictures: Of the task.
        results: Of every evaluation, by its reference.
        seconds: What each took.
        provenance: Versions, machine and time.
    """

    subject: Subject
    kind: Kind
    rows: Mapping[str, int]
    notes: tuple[str, ...]
    pictures: tuple[Artifact, ...]
    results: Mapping[str, Result]
    seconds: Mapping[str, float]
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=provenance)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, alarms first."""
        found = [finding for result in self.results.values() for finding in result.findings]
        return tuple(sorted(found, key=lambda finding: not finding.alarm))

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings that are reasons to act."""
        return tuple(finding for finding in self.findings if finding.alarm)

    @property
    def measurements(self) -> Iterator[Measurement]:
        """Every number."""
        return (m for result in self.results.values() for m in result.measurements)

    def value(self, metric: str) -> Measurement:
        """The measurement of a metric over all test rows; the worst of several test splits.

        ``worst-group`` and ``worst-environment`` stand for the worst of the headline metric.

        Raises:
            UserError: It was not measured.
        """
        names = [metric, f"{metric}-{headline(self.kind).name}"]
        whole = [m for m in self.measurements if not _is_part(m) or m.metric.startswith("worst-")]
        found = [m for m in whole if m.metric in names and not np.isnan(m.value)]
        if not found:
            raise unknown_name("metric of this audit", metric, {m.metric for m in whole})
        return min(found, key=lambda m: m.value if m.higher_is_better else -m.value)

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in answer(self))
        parts = [
            f"<details><summary>{html.escape(QUESTIONS.get(name, name))}</summary>{result._repr_html_()}</details>"
            for name, result in self.results.items()
        ]
        return f"<ul>{said}</ul>{''.join(parts)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without the artifacts."""
        return {
            "model": self.subject.model,
            "data": self.subject.data,
            "command": self.subject.command,
            "answer": list(answer(self)),
            "alarms": [dataclasses.asdict(finding) for finding in self.alarms],
            "findings": {name: [dataclasses.asdict(f) for f in r.findings] for name, r in self.results.items()},
            "measurements": {name: [dataclasses.asdict(m) for m in r.measurements] for name, r in self.results.items()},
            "rows": dict(self.rows),
            "notes": list(self.notes),
            "seconds": dict(self.seconds),
        }


def audit(
    predictor: Predictor,
    task: TaskData,
    evaluations: Sequence[Evaluation] = (),
    *,
    subject: Subject = Subject(),  # frozen
    seed: int = 0,
    report_progress: Callable[[str, float], None] | None = None,
) -> Audit:
    """Put every question to a model.

    Args:
        predictor: The model.
        task: With test rows, such as :meth:`Task.whole` gives.
        evaluations: What to ask; everything by default.
        subject: How the page calls model and data.
        seed: Of all random choices.
        report_progress: Called with the name of an evaluation and the part that is done.

    Raises:
        UserError: There are too few test rows, or the model cannot predict them.
    """
    splits = measured_splits(task, ("test",))
    n = sum(len(split.data) for split in splits)
    if n < FEWEST:
        raise UserError(f"there are {count(n, 'test row')}: an audit needs at least {FEWEST}")
    known = cached(predictor, [split.data for split in task.splits])
    asked = list(evaluations or usual_evaluations())
    results, seconds = {}, {}
    for place, evaluation in enumerate(e for e in asked if task.kind in e.kinds):
        if report_progress is not None:
            report_progress(evaluation.name, place / len(asked))
        start = time.perf_counter()
        name = evaluation.reference
        results[name] = evaluation.evaluate(known, task, numpy_rng(seed, "audit", name))
        seconds[name] = round(time.perf_counter() - start, 3)
    return Audit(
        subject=subject,
        kind=task.kind,
        rows=_rows_by_environment(task),
        notes=(*subject.notes, *task.notes),
        pictures=task.pictures,
        results=results,
        seconds=seconds,
    )


def usual_evaluations() -> tuple[Evaluation, ...]:
    """Those of :data:`QUESTIONS`."""
    return tuple(create(Evaluation, name) for name in QUESTIONS)


def answer(audit: Audit) -> tuple[str, ...]:
    """What the audit found, in a few plain sentences; the page's first paragraph."""
    return tuple(sentence for part in (_how_good, _alarms, _failures, _others) for sentence in part(audit))


def _how_good(audit: Audit) -> Iterator[str]:
    metric = headline(audit.kind).name
    try:
        overall = audit.value(metric)
    except UserError:
        return
    write = NumberFormat.of(metric, [overall.value])
    worst = [m for m in audit.measurements if m.metric == f"worst-environment-{metric}" and m.environment]
    said = f"{_number(write, overall)} on {count(sum(audit.rows.values()), 'row')}"
    name = "It is right in" if audit.kind == "classification" else f"Its {write.name} is"
    if len(audit.rows) > 1 and worst:
        lowest = min(worst, key=lambda m: m.value if m.higher_is_better else -m.value)
        there = f"worst in {lowest.environment!r}, {_number(write, lowest)}"
        yield f"{name} {said} of {len(audit.rows)} environments; {there}."
    else:
        yield f"{name} {said}."
    for m in audit.measurements:
        if m.metric == f"worst-group-{metric}" and m.group:
            yield f"The worst group is {m.group!r}: {_number(write, m)}."
            return


def _alarms(audit: Audit) -> Iterator[str]:
    yield from (finding.sentence for finding in audit.alarms[:4])
    if len(audit.alarms) > 4:
        yield f"{len(audit.alarms) - 4} more alarms are below."
    if not audit.alarms and "reliance" in audit.results:
        if len(audit.rows) > 1:
            yield "No part of the rows was found to mislead it or to stop helping it in any of these environments."
        else:
            yield "All rows come from one environment: nothing can show whether what helps here helps elsewhere."


def _failures(audit: Audit) -> Iterator[str]:
    for name in SIMPLY_WORSE:
        result = audit.results.get(name)
        if result is not None and result.findings:
            yield result.findings[0].sentence


def _others(audit: Audit) -> Iterator[str]:
    for name, result in audit.results.items():
        if name not in SIMPLY_WORSE:
            yield from (finding.sentence for finding in result.findings[:1] if not finding.alarm)


def _is_part(m: Measurement) -> bool:
    return m.environment is not None or m.group is not None


def _number(write: NumberFormat, m: Measurement) -> str:
    return f"{write.with_unit(m.value)} {write.interval(m.low, m.high)}".rstrip()


def _rows_by_environment(task: TaskData) -> dict[str, int]:
    rows: dict[str, int] = {}
    for split in measured_splits(task, ("test",)):
        column = split.data.environment
        for code, size in zip(column.present(), column.counts(), strict=True):
            rows[column.names[code]] = rows.get(column.names[code], 0) + size
    return rows
