"""What ``--dry-run`` says: the cells that would be made, and what they will cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from holdfast.commands.output import print_json, print_text
from holdfast.core.words import count
from holdfast.experiments.costs import MORE, Cost
from holdfast.experiments.executors import Executor
from holdfast.experiments.grid import Grid
from holdfast.experiments.processes import Processes, usual_workers
from holdfast.experiments.store import CellStore


def planned(grid: Grid, store: CellStore) -> list[dict[str, Any]]:
    """Every cell of a grid with its state; those from which groups are inferred come first."""
    return [
        {
            "cell": spec.key,
            "fold": spec.fold,
            "method": spec.label,
            "seed": spec.seed,
            "steps": spec.budget.amount * len(spec.chain),
            "finished": store.find(spec) is not None,
        }
        for _, spec in (*grid.references(), *grid.specs())
    ]


def print_plan(cells: Sequence[Mapping[str, Any]]) -> None:
    """One line for each cell."""
    for cell in cells:
        state = "finished" if cell["finished"] else "to do"
        print_text(f"{cell['cell']}  {state:8}  seed {cell['seed']}  {cell['method']}  {cell['fold']}".rstrip())
    to_do = sum(not cell["finished"] for cell in cells)
    print_text(f"{count(len(cells), 'cell')}, {to_do} to do")


def show_plan(
    cells: Sequence[Mapping[str, Any]],
    costs: Sequence[Cost],
    executor: Executor,
    *,
    as_json: bool,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Print the cells and their cost, as JSON with ``more``."""
    workers = executor.workers if isinstance(executor, Processes) else 1
    if as_json:
        methods = [
            {"method": c.method, "seconds_a_cell": c.seconds, "bytes_a_cell": c.bytes, "cells": c.cells} for c in costs
        ]
        total = {"seconds": _total(costs) / workers, "workers": workers, "bytes": _bytes(costs), "methods": methods}
        print_json({"cells": cells, **more, "cost": total})
        return
    print_plan(cells)
    for line in _lines(costs, workers):
        print_text(line)


def _lines(costs: Sequence[Cost], workers: int) -> list[str]:
    known = [cost for cost in costs if not math.isnan(cost.seconds)]
    lines = [f"no estimate for {cost.method}: it failed within a few updates" for cost in costs if cost not in known]
    if not known:
        return lines
    others = max(usual_workers(1), workers)
    apart = f", {_duration(_total(known) / others)} with --executor processes:workers={others}" if others > 1 else ""
    each = ", ".join(f"{cost.method} {_duration(cost.seconds)}" for cost in known)
    return [
        *lines,
        f"about {_duration(_total(known))} in one process{apart}; {_bytes(known) / 1e6:,.0f} MB on disk or more",
        f"a cell: {each} (from at most {MORE} updates of one cell each, on this machine as busy as it is now)",
    ]


def _total(costs: Sequence[Cost]) -> float:
    """Seconds one after another, of what is known."""
    return sum(cost.seconds * cost.cells for cost in costs if not math.isnan(cost.seconds))


def _bytes(costs: Sequence[Cost]) -> float:
    return sum(cost.bytes * cost.cells for cost in costs)


def _duration(seconds: float) -> str:
    """As people say it.

    >>> _duration(0.42), _duration(75), _duration(9000)
    ('0.4 s', '1.2 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
