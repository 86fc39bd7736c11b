"""An image folder of 50,000 files: time to the first update, rows a second against a DataLoader, and peak memory.

Run with ``python benchmarks/image_folder.py``; it prints the table and writes ``docs/benchmarks/image_folder.md``.
Every measurement is a fresh process, so that peak memory is its own; ours and the baseline run in turn.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "image_folder.md"
SIZES = (5_000, 50_000)
SIDE = 32
BATCH = 128
SECONDS = 6.0
REPEATS = 3
MB = 1 << 20


class Files(Dataset[tuple[torch.Tensor, int]]):
    """What one would write: Pillow, one file at a time."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(map(str, folder.rglob("*.png")))
        self.labels = [int(Path(file).parents[1].name == "b") for file in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        with Image.open(self.files[row]) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), self.labels[row]


def write_images(folder: Path, number: int) -> None:
    """Small noisy PNG files, two labels, four environments: label/environment/name.png."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(number):
        place = folder / "ab"[i % 2] / f"site-{i // 2 % 4}"
        place.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(small.repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)).save(place / f"{i:06d}.png")


def ours(folder: Path) -> dict[str, float]:
    """Seconds to scan and to the first update, rows read a second, peak memory."""
    from holdfast.core.method import Method
    from holdfast.core.registry import create
    from holdfast.core.task import training_view
    from holdfast.images import find_images, headers
    from holdfast.tasks.image_folder import ImageFolder
    from holdfast.training import Budget, Trainer

    method, trainer = create(Method, "erm"), Trainer(budget=Budget(1), batch_size=BATCH)
    started = time.perf_counter()
    found = find_images(folder)
    headers(str(folder), found.files)
    scanned = time.perf_counter() - started
    started = time.perf_counter()
    task = ImageFolder(path=str(folder), environment="folder-2", holdout_environment="site-3").load()
    task.fingerprint()
    view = training_view(task, method.needs(), trainer.ledger)
    method.fit(view, trainer)
    first = scanned + time.perf_counter() - started
    return {"files": len(found.files) / scanned, "first": first, **_read(_shuffled(view.train.batch, len(view.train)))}


def baseline(folder: Path) -> dict[str, float]:
    """Rows a second of a DataLoader with two workers over the same files, and the peak memory of its processes."""
    started = time.perf_counter()
    loader = DataLoader(Files(folder), batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True)

    def batches() -> Iterator[int]:
        while True:
            yield from (len(labels) for _, labels in loader)

    endless = batches()
    next(endless)
    return {"first": time.perf_counter() - started, **_read(lambda: next(endless))}


def _shuffled(batch: Callable[[torch.Tensor], object], rows: int) -> Callable[[], int]:
    rng = torch.Generator().manual_seed(0)

    def read() -> int:
        batch(torch.randint(rows, (BATCH,), generator=rng))
        return BATCH

    return read


def _read(read: Callable[[], int]) -> dict[str, float]:
    started, rows = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        rows += read()
    return {"rows": rows / (time.perf_counter() - started), "peak": _peak() / MB}


def _peak() -> int:
    """Peak memory of this process in bytes, as Linux tells it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def measure(what: str, folder: Path) -> dict[str, float]:
    """One measurement in a process of its own."""
    done = subprocess.run([sys.executable, __file__, what, str(folder)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def median(found: list[dict[str, float]]) -> dict[str, float]:
    """The median of each number."""
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def page() -> str:
    """The table as Markdown."""
    lines = [
        "# Image folders: from disk against a DataLoader",
        "",
        f"Written by `python benchmarks/image_folder.py` on {date.today().isoformat()}: torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, PNG files of {SIDE}×{SIDE} pixels, batches of "
        f"{BATCH}, median of {REPEATS} interleaved processes. The time to the first update holds finding and checking "
        "every file, hashing and one step of `erm`, but not Python's imports. The baseline is a torch `DataLoader` "
        "with two workers that decodes the same files with Pillow and checks none; it uses three processes where "
        "holdfast uses one, and its memory is that of the main process alone.",
        "",
        "| files | scanned, files/s | to the first update, s | rows/s | rows/s, DataLoader | ratio | peak memory, MB | "
        "peak memory, DataLoader, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            write_images(Path(name), size)
            pairs = [(measure("ours", Path(name)), measure("baseline", Path(name))) for _ in range(REPEATS)]
        own, other = (median([pair[side] for pair in pairs]) for side in (0, 1))
        lines.append(
            f"| {size:,} | {own['files']:,.0f} | {own['first']:.1f} | {own['rows']:,.0f} | {other['rows']:,.0f} | "
            f"{own['rows'] / other['rows']:.2f}× | {own['peak']:.0f} | {other['peak']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) == 3:
        print(json.dumps({"ours": ours, "baseline": baseline}[sys.argv[1]](Path(sys.argv[2]))))
    else:
        text = page()
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        print(text)
