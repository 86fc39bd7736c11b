"""The page of an audit: the answer in plain words, then a section for every question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.artifacts import Artifact, Table
from holdfast.core.evaluation import Finding, Result, table_of
from holdfast.core.files import write_text
from holdfast.experiments.audit import QUESTIONS, Audit, answer
from holdfast.reports.pages import ARTIFACT_BYTES, Shown, flat, render_page


def write_audit(audit: Audit, path: Path) -> Path:
    """Write the page of an audit, whole or not at all; returns its path."""
    write_text(path, render_audit(audit))
    return path


def render_audit(audit: Audit) -> str:
    """The page as text; everything that came from a user is escaped."""
    return render_page(
        "audit.html",
        audit=audit,
        answer=answer(audit) or ("Nothing was measured.",),
        alarms={finding.sentence for finding in audit.alarms},
        sections=tuple(_sections(audit)),
        pictures=tuple(map(Shown.of, audit.pictures)),
        versions=tuple(flat(audit.provenance)),
    )


@dataclass(frozen=True)
class _Section:
    """One question and what answers it."""

    id: str
    question: str
    findings: tuple[Finding, ...]
    shown: tuple[Shown, ...]
    left_out: int


def _sections(audit: Audit) -> Iterator[_Section]:
    room = ARTIFACT_BYTES
    for reference, result in audit.results.items():
        name = reference.partition(":")[0]
        shown = [Shown.of(artifact) for artifact in _artifacts(result) if _has_content(artifact)]
        kept = []
        for artifact in shown:
            if len(artifact.html) <= room:
                room -= len(artifact.html)
                kept.append(artifact)
        yield _Section(name, QUESTIONS.get(name, name), result.findings, tuple(kept), len(shown) - len(kept))


def _artifacts(result: Result) -> tuple[Artifact, ...]:
    """What an evaluation drew; its numbers as a table where it drew nothing."""
    if result.artifacts or not result.measurements:
        return result.artifacts
    return (table_of(result.measurements),)


def _has_content(artifact: Artifact) -> bool:
    return not isinstance(artifact, Table) or bool(artifact.rows)
