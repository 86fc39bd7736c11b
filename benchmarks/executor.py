"""What worker processes save: a grid of ten cells in one process and in two, in turn.

Run with ``python benchmarks/executor.py``; it prints the table and writes ``docs/benchmarks/executor.md``.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "executor.md"
REPEATS = 3
STEPS = (100, 2000)
EXECUTORS = ("inline", "processes:workers=2")


def seconds(executor: str, steps: int) -> float:
    """Of one command, from its start to its report, in an empty folder."""
    words = f"run colored-digits --method erm,group-dro --seeds 5 --steps {steps} --quiet --executor {executor}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "holdfast", *words.split(), "--output", folder]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start


def page() -> str:
    """The table as Markdown."""
    lines = [
        "# Executors: worker processes against one process",
        "",
        f"Written by `python benchmarks/executor.py` on {date.today().isoformat()}: Python "
        f"{platform.python_version()}, {platform.machine()}, two cores, median of {REPEATS} interleaved runs. "
        "Ten cells of `colored-digits` (`erm` and `group-dro`, five seeds), one thread each; the whole command with "
        "imports, evaluation and report.",
        "",
        "| updates a cell | in one process, s | two workers, s | ratio |",
        "|---|---|---|---|",
    ]
    for steps in STEPS:
        taken: dict[str, list[float]] = {executor: [] for executor in EXECUTORS}
        for _ in range(REPEATS):
            for executor in EXECUTORS:
                taken[executor].append(seconds(executor, steps))
        inline, processes = (statistics.median(taken[executor]) for executor in EXECUTORS)
        lines.append(f"| {steps:,} | {inline:.1f} | {processes:.1f} | {inline / processes:.2f}× |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = page()
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
