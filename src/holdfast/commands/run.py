"""``holdfast run``: train, evaluate under shift, report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from holdfast.commands.output import print_json, print_text, progress
from holdfast.commands.request import evaluations_of, grid_of
from holdfast.core.words import count
from holdfast.experiments.checks import check_evaluations
from holdfast.experiments.grid import Grid
from holdfast.experiments.run import read_run, run_grid
from holdfast.experiments.store import CellStore


def main(options: argparse.Namespace) -> int:
    """Run what was asked for, or only say what would be run."""
    grid = grid_of(options)
    evaluations = evaluations_of(options.evaluate)
    if options.evaluate:
        check_evaluations(evaluations, grid.folds[0].data.kind)
    root = Path(options.output)
    if options.dry_run:
        show_plan(grid, CellStore(root / "cells"), as_json=options.json)
        return 0
    with progress(sum(1 for _ in grid.specs()), quiet=options.quiet) as tell:
        folder = run_grid(grid, root, evaluations, command=options.command, report_progress=tell)
    return show_result(folder, as_json=options.json)


def show_plan(grid: Grid, store: CellStore, *, as_json: bool) -> None:
    """Print every cell with its state."""
    cells = [
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
    if as_json:
        print_json({"cells": cells})
        return
    for cell in cells:
        state = "finished" if cell["finished"] else "to do"
        print_text(f"{cell['cell']}  {state:8}  seed {cell['seed']}  {cell['method']}  {cell['fold']}".rstrip())
    to_do = sum(not cell["finished"] for cell in cells)
    print_text(f"{count(len(cells), 'cell')}, {to_do} to do")


def show_result(folder: Path, *, as_json: bool) -> int:
    """Write the report of a run and print its summary; returns the exit code, 1 where a training failed."""
    from holdfast.experiments.summary import summarise
    from holdfast.reports.page import write_report

    result = read_run(folder)
    summary = summarise(result)
    report = write_report(result, folder / "report.html", summary=summary)
    for failure in result.failures:
        sys.stderr.write(f"holdfast: {failure}\n")
    if as_json:
        kept = {name: getattr(result, name) for name in ("command", "warnings", "failures")}
        print_json({**summary.as_dict(), **kept, "report": str(report)})
    else:
        from holdfast.reports.terminal import print_summary

        print_summary(summary)
        print_text(f"report: {report}")
    return 1 if result.failures else 0
