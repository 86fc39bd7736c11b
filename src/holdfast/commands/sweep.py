"""``holdfast sweep``: search each method's options, then run the best setting of each with all seeds."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from holdfast.commands.output import print_text, progress
from holdfast.commands.request import evaluations_of, grid_of
from holdfast.commands.run import show_plan, show_result
from holdfast.experiments.grid import Grid
from holdfast.experiments.run import run_grid
from holdfast.experiments.search import best, sampled, search
from holdfast.experiments.store import CellStore


def main(options: argparse.Namespace) -> int:
    """Search, run the best, report with the number of trials in every row."""
    grid = grid_of(options)
    evaluations = evaluations_of(options.evaluate)
    root = Path(options.output)
    store = CellStore(root / "cells")
    if options.dry_run:
        show_plan(_every_trial(grid, options.trials), store, as_json=options.json)
        return 0
    cells = len(grid.chains) * len(grid.folds) * (options.trials + len(grid.seeds))
    with progress(cells, quiet=options.quiet) as tell:
        found = search(grid, options.trials, store, tell)
        chosen = dataclasses.replace(grid, chains=tuple(best(trials).chain for trials in found))
        trials = {label: len(tried) for label, tried in zip(chosen.labels, found, strict=True)}
        folder = run_grid(chosen, root, evaluations, command=options.command, trials=trials, report_progress=tell)
    if not options.json:
        for tried, label in zip(found, chosen.labels, strict=True):
            print_text(f"best of {len(tried)} trials: {label} ({best(tried).merit:.4g})")
    return show_result(folder, as_json=options.json)


def _every_trial(grid: Grid, trials: int) -> Grid:
    chains = tuple(dict.fromkeys(sampled(chain, trial) for chain in grid.chains for trial in range(trials)))
    return dataclasses.replace(grid, chains=chains, seeds=grid.seeds[:1])
