"""``holdfast audit``: what a model that exists already relies on, where it fails, and what would mend it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from holdfast.commands.output import print_json, print_text
from holdfast.commands.request import check_numbers, evaluations_of, task_of
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Predictor
from holdfast.core.task import TaskData
from holdfast.experiments.audit import Audit, Subject, answer, audit
from holdfast.experiments.checks import check_evaluations
from holdfast.experiments.finished import finished_model
from holdfast.experiments.numerics import Numerics, limited
from holdfast.experiments.spec import hash_of
from holdfast.experiments.store import CellStore

GATE_MISSED = 3


def main(options: argparse.Namespace) -> int:
    """Audit a model and write the page; 3 where a gate is missed."""
    check_numbers(options)
    gates = [*_gates(options.fail_under, "under"), *_gates(options.fail_over, "over")]
    evaluations = evaluations_of(options.evaluate) if options.evaluate else ()
    found = _loaded(options)
    if evaluations:
        check_evaluations(evaluations, found.data.kind)
    with limited(Numerics(options.threads)):
        done = audit(found.predictor, found.data, evaluations, subject=found.subject, seed=options.seed)
    missed = [line for gate in gates if (line := gate.missed(done))]
    page = _write(done, Path(options.output))
    if options.json:
        print_json({**done.as_dict(), "gates_missed": missed, "report": str(page)})
    else:
        for sentence in answer(done):
            print_text(f"• {sentence}")
        print_text(f"report: {page}")
    for line in missed:
        sys.stderr.write(f"holdfast: {line}\n")
    return GATE_MISSED if missed else 0


@dataclass(frozen=True)
class _Loaded:
    predictor: Predictor
    data: TaskData
    subject: Subject


def _loaded(options: argparse.Namespace) -> _Loaded:
    """The model and the data to audit it on."""
    store = CellStore(Path(options.output) / "cells")
    if re.fullmatch("[0-9a-f]{4,16}", options.model) and not Path(options.model).exists():
        cell = store.get(options.model)
        if options.task is not None:
            raise UserError("a finished cell is audited on the rows of its own task: leave out --data")
        predictor, data, spec = finished_model(cell)
        return _Loaded(predictor, data, Subject(f"{spec.case} (cell {cell.key})", spec.task.title, options.command))
    if options.task is None:
        raise UserError("name the rows to audit the model on: --data TASK|FILE")
    from holdfast.foreign import load

    task = task_of(options)
    data = task.whole()
    found = load(options.model, data, trust_pickle=options.trust_pickle)
    subject = Subject(options.model, task.title, options.command, found.notes)
    return _Loaded(found.predictor, data, subject)


@dataclass(frozen=True)
class _Gate:
    """A bound on a number of the audit."""

    metric: str
    bound: float
    side: Literal["under", "over"]

    def missed(self, done: Audit) -> str | None:
        """One line where the number is beyond the bound."""
        if self.metric == "alarms":
            value, shown = float(len(done.alarms)), "alarms"
        else:
            measured = done.value(self.metric)
            part = measured.group or measured.environment
            value, shown = measured.value, self.metric + (f" ({part})" if part else "")
        beyond = value < self.bound if self.side == "under" else value > self.bound
        return f"gate missed: {shown} is {value:.4g}, {self.side} {self.bound:g}" if beyond else None


def _gates(texts: Sequence[str], side: Literal["under", "over"]) -> list[_Gate]:
    gates = []
    for text in texts:
        metric, equals, bound = text.partition("=")
        try:
            gates.append(_Gate(metric.strip(), float(bound), side))
        except ValueError:
            equals = ""
        if not equals or not metric.strip():
            raise UserError(f"cannot read --fail-{side} {text!r}: write METRIC=VALUE, such as worst-group=0.8")
    return gates


def _write(done: Audit, root: Path) -> Path:
    """The page and its numbers in a folder of their own."""
    from holdfast.core.files import write_json
    from holdfast.experiments.numbers import plain
    from holdfast.reports.audit_page import write_audit

    key: Any = [done.subject.model, done.subject.data, done.subject.command]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(done.subject.model).stem).strip("-") or "model"
    folder = root / f"audit-{name[:40]}-{hash_of(key)[:8]}"
    write_json(folder / "audit.json", plain(done.as_dict()))
    return write_audit(done, folder / "report.html")
