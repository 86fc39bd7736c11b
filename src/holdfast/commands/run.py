"""``holdfast run``: train, evaluate under shift, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from holdfast.commands.output import print_json, print_text, progress
from holdfast.commands.plan import planned, show_plan
from holdfast.commands.request import evaluations_of, grid_of
from holdfast.experiments.checks import check_evaluations
from holdfast.experiments.costs import measured_costs
from holdfast.experiments.executors import executor_of
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
        store = CellStore(root / "cells")
        show_plan(planned(grid, store), measured_costs(grid, store, evaluations), executor, as_json=options.json)
        return 0
    with progress(sum(1 for _ in grid.specs()), quiet=options.quiet) as tell:
        folder = run_grid(grid, root, evaluations, command=options.command, executor=executor, report_progress=tell)
    return show_result(folder, as_json=options.json)


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
