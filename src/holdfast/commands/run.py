"""``holdfast run``: train, evaluate under shift, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from holdfast.commands.output import print_json, print_text, progress
from holdfast.commands.request import evaluations_of, grid_of
from holdfast.core.words import count
from holdfast.experiments.checks import check_evaluations
from holdfast.experiments.executors import executor_of
from holdfast.experiments.grid import Grid
from holdfast.experiments.run import read_run, run_grid
from holdfast.experiments.store import CellStore


def main(options: argparse.Namespace) -> int:
    """Run what was asked for, or only say what would be run."""
    grid = grid_of(options)
    evaluations = evaluations_of(options.evaluate)
    if options.evaluate:
        check_evaluations(evaluations, grid.folds[0].data.kind)
    executor = executor_of(options.executor, options.threads)
    root = Path(options.output)
    if options.dry_run:
        cells = planned(grid, CellStore(root / "cells"))
        if options.json:
            print_json({"cells": cells})
        else:
            print_plan(cells)
        return 0
    with progress(sum(1 for _ in grid.specs()), quiet=options.quiet) as tell:
        folder = run_grid(grid, root, evaluations, command=options.command, executor=executor, report_progress=tell)
    return show_result(folder, as_json=options.json)


def planned(grid: Grid, store: CellStore) -> list[dict[str, Any]]:
    """Every cell of a grid with its state."""
    return [
        {
            "cell": spec.key,
            "fold": spec.fold,
            "method": spec.label,
            "seed": spec.seed,
            "steps": spec.budget.amount * len(spec.chain),
            "finished": store.find(spec) is not None,
        }
        for _, spec in grid.specs()
    ]


def print_plan(cells: Sequence[Mapping[str, Any]]) -> None:
    """One line for each cell."""
    for cell in cells:
        state = "finished" if cell["finished"] else "to do"
        print_text(f"{cell['cell']}  {state:8}  seed {cell['seed']}  {cell['method']}  {cell['fold']}".rstrip())
    to_do = sum(not cell["finished"] for cell in cells)
    print_text(f"{count(len(cells), 'cell')}, {to_do} to do")


def show_result(folder: Path, *, as_json: bool, more: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Write the report of a run and print its summary, as JSON with ``more``; 1 where a training failed, else 0."""
    from holdfast.experiments.summary import summarise
    from holdfast.reports.page import write_report

    result = read_run(folder)
    summary = summarise(result)
    report = write_report(result, folder / "report.html", summary=summary)
    for failure in result.failures:
        sys.stderr.write(f"holdfast: {failure}\n")
    if as_json:
        kept = {name: getattr(result, name) for name in ("command", "warnings", "failures")}
        print_json({**summary.as_dict(), **kept, **more, "report": str(report)})
    else:
        from holdfast.reports.terminal import print_summary

        print_summary(summary)
        print_text(f"report: {report}")
    return 1 if result.failures else 0
