"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from holdfast.core.files import write_text
from holdfast.experiments.numbers import MISSING, NumberFormat, p_text
from holdfast.experiments.results import CellResult, RunResult
from holdfast.experiments.summary import Summary, summarise
from holdfast.reports import figures
from holdfast.reports.pages import ARTIFACT_BYTES, Shown, flat, render_page

MAX_ROWS = 60
"""Environments or groups beyond this many are left to the JSON summary."""


def write_report(run: RunResult, path: Path, *, summary: Summary | None = None) -> Path:
    """Write the report of a run, whole or not at all; equal runs give equal bytes.

    Args:
        run: Its result.
        path: The HTML file.
        summary: Of the run, where it was made already.

    Returns:
        The path.

    Raises:
        HoldfastError: The run has no scores.
    """
    write_text(path, render(run, summary or summarise(run)))
    return path


def render(run: RunResult, summary: Summary) -> str:
    """The page as text. Everything that came from a user is escaped, and nothing outside is needed."""
    return render_page(
        "report.html",
        run=run,
        summary=summary,
        write=summary.format,
        columns=summary.answer_first,
        worst=tuple(_worst(summary)),
        pictures=tuple(Shown.of(picture) for picture in run.task.pictures),
        figures={
            split: tuple(Markup(draw(summary, split)) for draw in _result_figures(summary)) for split in summary.targets
        },
        curves=figures.learning_curves(run, summary),
        secondary=_secondary(summary),
        evaluations=_evaluations(run.cells),
        costs=[_Cost.of(method, run.cells) for method in run.methods],
        selected=_selected(run, summary),
        seeds=sorted({cell.seed for cell in run.cells}),
        versions=_provenance(run.cells),
        source_selects=any(split.name == summary.source and split.role == "selection" for split in summary.splits),
        p_text=p_text,
        max_parts=figures.MAX_PARTS,
        max_rows=MAX_ROWS,
    )


def _result_figures(summary: Summary) -> tuple[Any, ...]:
    return (figures.scores_figure, figures.contrasts_figure)[: len(summary.methods)]


@dataclass(frozen=True)
class _Worst:
    """Environments or groups of a split: a picture, and a row of estimates by method for each."""

    split: str
    column: str
    figure: Markup
    rows: tuple[tuple[str, tuple[Any, ...]], ...]


def _worst(summary: Summary) -> Iterable[_Worst]:
    for split in summary.targets:
        for column in ("environment", "group"):
            names = figures.worst_first(summary, split, column)
            by_method = [
                {part.name: part.estimate for part in figures.parts_of(summary, method, split, column)}
                for method in summary.methods
            ]
            rows = tuple((name, tuple(parts.get(name) for parts in by_method)) for name in names)
            if rows:
                yield _Worst(split, column, Markup(figures.parts_figure(summary, split, column)), rows)


def _secondary(summary: Summary) -> list[tuple[Any, NumberFormat]]:
    """The other metrics, each row with the format of its metric."""
    values: dict[str, list[float]] = {}
    for row in summary.secondary:
        values.setdefault(row.metric, []).extend(estimate.value for estimate in row.estimates.values())
    return [(row, NumberFormat.of(row.metric, values[row.metric])) for row in summary.secondary]


@dataclass(frozen=True)
class _Evaluation:
    """What one evaluation left: artifacts of each method's first cell, as many as the page has room for."""

    name: str
    shown: tuple[tuple[CellResult, tuple[Shown, ...]], ...]
    left_out: int


def _evaluations(cells: Sequence[CellResult]) -> list[_Evaluation]:
    first_cells = {cell.method: cell for cell in reversed(cells)}
    names = dict.fromkeys(name for cell in cells for name, artifacts in cell.artifacts.items() if artifacts)
    room, evaluations = ARTIFACT_BYTES, []
    for name in names:
        shown, left_out = [], 0
        for method in dict.fromkeys(cell.method for cell in cells):
            artifacts = tuple(Shown.of(a) for a in first_cells[method].artifacts.get(name, ()))
            size = sum(len(artifact.html) for artifact in artifacts)
            if size > room:
                left_out += len(artifacts)
            elif artifacts:
                room -= size
                shown.append((first_cells[method], artifacts))
        evaluations.append(_Evaluation(name, tuple(shown), left_out))
    return evaluations


@dataclass(frozen=True)
class _Cost:
    """What a cell of a method costs on average, and labels at most."""

    method: str
    cells: int
    steps: float
    gradients: float
    forwards: float
    seconds: float
    labels: str

    @staticmethod
    def of(method: str, cells: Sequence[CellResult]) -> _Cost:
        ledgers = [cell.ledger for cell in cells if cell.method == method]
        count = max(len(ledgers), 1)

        def mean(key: str) -> float:
            return float(sum(ledger.get(key, 0) for ledger in ledgers)) / count

        labels: Counter[str] = Counter()
        for ledger in ledgers:
            labels |= Counter(ledger.get("labels", {}))
        seconds = sum(sum(ledger.get("seconds", {}).values()) for ledger in ledgers) / count
        listed = ", ".join(f"{role} {n:,}" for role, n in labels.items()) or MISSING
        return _Cost(method, len(ledgers), mean("steps"), mean("gradients"), mean("forwards"), seconds, listed)


def _selected(run: RunResult, summary: Summary) -> list[tuple[str, list[str]]]:
    """By method, the selected step of every seed; the steps of its folds one after the other."""
    steps = {(cell.method, cell.seed, cell.fold): cell.selected for cell in run.cells}

    def of(method: str, seed: int, fold: str) -> str:
        if (method, seed, fold) not in steps:
            return "missing"
        step = steps[method, seed, fold]
        return MISSING if step is None else f"{step:,}"

    seeds = sorted({cell.seed for cell in run.cells})
    return [(m, [" / ".join(of(m, seed, fold) for fold in summary.folds) for seed in seeds]) for m in summary.methods]


def _provenance(cells: Sequence[CellResult]) -> list[tuple[str, str]]:
    """Versions and machine, each with all values that occur among the cells; times as first to last."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        for name, value in flat(cell.provenance):
            found.setdefault(name, set()).add(value)
    return [(name, _values(name, sorted(values))) for name, values in found.items()]


def _values(name: str, values: Sequence[str]) -> str:
    if name == "finished" and len(values) > 1:
        return f"{values[0]} to {values[-1]}"
    return ", ".join(values)
