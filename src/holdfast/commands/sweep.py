"""``holdfast sweep``: search each method's options, then run the best setting of each with all seeds."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.commands.output import print_text, progress
from holdfast.commands.plan import planned, show_plan
from holdfast.commands.request import evaluations_of, grid_of
from holdfast.commands.run import show_result
from holdfast.core.words import count
from holdfast.experiments.checks import check_evaluations
from holdfast.experiments.costs import Cost, measured_costs
from holdfast.experiments.executors import Executor, executor_of
from holdfast.experiments.grid import Grid
from holdfast.experiments.proposals import Proposals, Trial, proposals_of
from holdfast.experiments.run import run_grid
from holdfast.experiments.search import Limits, best, check_searchable, search, settings
from holdfast.experiments.store import CellStore


def main(options: argparse.Namespace) -> int:
    """Search, run the best, report with the number of trials in every row."""
    limits = Limits(options.trials, math.inf if options.seconds is None else options.seconds)
    proposals = proposals_of(options.sampler)
    grid = grid_of(options)
    check_searchable(grid)
    evaluations = evaluations_of(options.evaluate)
    if options.evaluate:
        check_evaluations(evaluations, grid.folds[0].data.kind)
    executor = executor_of(options.executor, options.threads)
    root = Path(options.output)
    store = CellStore(root / "cells")
    if options.dry_run:
        costs = measured_costs(dataclasses.replace(grid, seeds=grid.seeds[:1]), CellStore(root / "none"), evaluations)
        _show_plan(grid, limits, proposals, store, (costs, executor), as_json=options.json)
        return 0
    cells = len(grid.chains) * len(grid.folds) * (options.trials + len(grid.seeds))
    with progress(cells, quiet=options.quiet) as tell:
        found = search(grid, limits, store, tell, executor, proposals)
        chosen = dataclasses.replace(grid, chains=tuple(best(trials).chain for trials in found))
        trials = {label: len(tried) for label, tried in zip(chosen.labels, found, strict=True)}
        folder = run_grid(
            chosen, root, evaluations, command=options.command, trials=trials, executor=executor, report_progress=tell
        )
    if not options.json:
        for tried, label in zip(found, chosen.labels, strict=True):
            print_text(f"best of {count(len(tried), 'trial')}: {label} ({best(tried).merit:.4g})")
    return show_result(folder, as_json=options.json, more={"sweep": _searched(grid, found)})


def _show_plan(  # each by its name
    grid: Grid,
    limits: Limits,
    proposals: Proposals,
    store: CellStore,
    costs: tuple[Sequence[Cost], Executor],
    *,
    as_json: bool,
) -> None:
    """The cells of the search, and what will run after it: the first seed of the best setting is one of them.

    Where settings depend on scores only the first of each method is known.
    """
    trials = limits.trials
    cells = planned(_every_trial(grid, 1 if proposals.needs_scores else trials, proposals), store)
    final = [
        {"fold": fold.name, "method": label, "seed": seed}
        for fold in grid.folds
        for label in grid.labels
        for seed in grid.seeds[1:]
    ]
    # The setting as given stands for all that are searched.
    every = [dataclasses.replace(cost, cells=cost.cells * (trials + len(grid.seeds) - 1)) for cost in costs[0]]
    show_plan(cells, every, costs[1], as_json=as_json, more={"final": final})
    if as_json:
        return
    if proposals.needs_scores:
        print_text(f"then  {count(trials - 1, 'setting')} of each method at most, by the scores of those before")
    for cell in final:
        print_text(f"then  seed {cell['seed']}  the best of {cell['method']}  {cell['fold']}".rstrip())
    print_text(f"{count(len(final), 'cell')} after the search")


def _searched(grid: Grid, found: Sequence[Sequence[Trial]]) -> list[dict[str, Any]]:
    """Every setting that was tried for each method, with the score that the rule gives it; null where it failed."""
    return [
        {
            "method": label,
            "best": best(tried).label,
            "trials": [{"setting": trial.label, "score": trial.merit} for trial in tried],
        }
        for label, tried in zip(grid.labels, found, strict=True)
    ]


def _every_trial(grid: Grid, trials: int, proposals: Proposals) -> Grid:
    chains = tuple(dict.fromkeys(s for chain in grid.chains for s in settings(chain, trials, proposals)))
    return dataclasses.replace(grid, chains=chains, seeds=grid.seeds[:1])
