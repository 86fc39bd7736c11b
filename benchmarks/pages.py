"""How the scripts beside this one write their pages."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast.statistics import mean_t

PAGES = Path(__file__).parents[1] / "docs" / "benchmarks"


def write(name: str, lines: Iterable[str]) -> None:
    """Print the lines of ``docs/benchmarks/NAME`` as they come, and write the page once all are there."""
    page = []
    for line in lines:
        print(line, flush=True)
        page.append(line)
    (PAGES / name).write_text("\n".join(page) + "\n", encoding="utf-8")


def percent(values: Sequence[float]) -> str:
    """The mean over seeds with its interval by Student's t, in %."""
    interval = mean_t([100 * value for value in values])
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if interval.low is None else f"{mean} [{interval.low:.1f}, {interval.high:.1f}]"
