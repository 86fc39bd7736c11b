"""Combining two files of weights of 1 GB each: speed against reading both and writing one, and peak memory.

Run with ``python benchmarks/combine.py``; it prints the table and writes ``docs/benchmarks/combine.md``.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

import torch
from safetensors.torch import save_file

from holdfast.weights import combine_files

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "combine.md"
REPEATS, LAYERS, SIDE = 5, 16, 4096
BUFFER = bytearray(1 << 22)


def copied(sources: list[Path], output: Path) -> float:
    """Seconds of reading some files and writing as much as the first holds, without looking at anything."""
    start = time.perf_counter()
    for source in sources:
        with source.open("rb", buffering=0) as file:
            while file.readinto(BUFFER):
                pass
    left, view = sources[0].stat().st_size, memoryview(BUFFER)
    with output.open("wb", buffering=0) as file:
        while left:
            left -= file.write(view[: min(left, len(view))])
        os.fsync(file.fileno())
    return time.perf_counter() - start


def combined(sources: list[Path], output: Path) -> float:
    """Seconds of averaging the files."""
    start = time.perf_counter()
    combine_files([(1 / len(sources), source) for source in sources], output)
    return time.perf_counter() - start


class AnonymousMemory(threading.Thread):
    """The largest anonymous memory of this process while it runs, MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.going = 0, True

    def run(self) -> None:
        while self.going:
            line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line)
            self.most = max(self.most, int(line.split()[1]) // 1024)
            time.sleep(0.002)


def page() -> str:
    """The table as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [folder / "a.safetensors", folder / "b.safetensors"]
        for source in sources:
            save_file({f"layers.{k}.weight": torch.randn(SIDE, SIDE) for k in range(LAYERS)}, source)
        size = sources[0].stat().st_size / 1e9
        memory = AnonymousMemory()
        taken: dict[str, list[float]] = {"copied": [], "combined": []}
        for repeat in range(REPEATS + 1):
            plain = copied(sources, folder / "plain")
            if repeat == 1:  # what the first turn left behind counts as well
                memory.start()
            ours = combined(sources, folder / "ours.safetensors")
            if repeat:  # the first turn warms the disk's cache
                taken["copied"].append(plain)
                taken["combined"].append(ours)
        memory.going = False
    plain, ours = (statistics.median(taken[what]) for what in ("copied", "combined"))
    return f"""# Combining files of weights

Written by `python benchmarks/combine.py` on {date.today().isoformat()}: Python {platform.python_version()}, torch
{torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads, medians of {REPEATS} interleaved runs. Two
safetensors files of {size:.2f} GB, single precision, averaged into a third on the same disk, whose cache holds them.

| | s | GB read and written a second |
|---|---|---|
| reading both files and writing one, looking at nothing | {plain:.2f} | {3 * size / plain:.1f} |
| `combine_files` | {ours:.2f} | {3 * size / ours:.1f} |

That is {100 * plain / ours:.0f} % of the plain speed. The largest anonymous memory of the process, torch and all, is
{memory.most} MB.
"""


if __name__ == "__main__":
    text = page()
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
