"""Digits of which nearly all have the color of their class: which methods learn the digit, and by how much.

Run with ``python benchmarks/biased_mnist.py [FOLDER [DEVICE [WORKERS]]]``; it prints the page and writes
``docs/benchmarks/biased_mnist.md``. About an hour and a half on one core, minutes on ``cuda`` with several workers;
with a folder for the cells a run that was stopped goes on. Needs MNIST in the folder that HOLDFAST_DATA names.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pages
import torch

from holdfast.core.files import read_json, write_json
from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.registry import create
from holdfast.core.task import TaskData, training_view
from holdfast.reproductions.biased_digits import Accuracies, accuracies
from holdfast.statistics import mean_t
from holdfast.tasks.colored_mnist_10 import ColoredMNIST10
from holdfast.training import Budget, Trainer

STRENGTHS, SEEDS, STEPS, BATCH = (0.99, 0.995), 5, 2500, 256
MARGIN = 0.15
PLAIN = "erm"
WITHOUT_COLOR = ("gce", "spectral-decoupling", "lff", "jtt", "jtt:repeats=100", "dfa")
ORACLES = ("balanced:groups=label*color", "group-dro:groups=label*color")
METHODS = (PLAIN, *WITHOUT_COLOR, *ORACLES)
COLUMNS = {"conflicting": "conflicting", "aligned": "aligned", "unbiased": "all pairs", "worst_cell": "worst pair"}
Cells = Mapping[str, Sequence[Accuracies]]


@dataclass(frozen=True)
class Folder:
    """Finished cells, one small file for each strength, seed and method."""

    path: Path

    def cell(self, strength: float, seed: int, method: str) -> Path:
        """Where the accuracies of one training are."""
        return self.path / f"{strength:g}-{seed}-{method.replace(':', ' ').replace('*', ' ')}.json"

    def fill(self, device: str, workers: int) -> None:
        """Train what is missing, each seed and strength in one of so many processes."""
        self.path.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            parts = itertools.product((self,), STRENGTHS, range(SEEDS), (device,))
            list(pool.map(_fill, *zip(*parts, strict=True)))

    def cells(self, strength: float) -> Cells:
        """For each method the accuracies of every seed."""
        return {
            method: [Accuracies(**read_json(self.cell(strength, seed, method))) for seed in range(SEEDS)]
            for method in METHODS
        }


def _fill(folder: Folder, strength: float, seed: int, device: str) -> None:
    missing = [method for method in METHODS if not folder.cell(strength, seed, method).exists()]
    if not missing:
        return
    torch.set_num_threads(1)
    task = ColoredMNIST10(strengths=(strength,), data_seed=seed).load()
    for method in missing:
        found = trained(method, task, seed, device)
        write_json(folder.cell(strength, seed, method), dataclasses.asdict(found))
        print(f"{strength:g} {seed} {method}: {found.conflicting:.3f}", file=sys.stderr, flush=True)


def trained(method: str, task: TaskData, seed: int, device: str) -> Accuracies:
    """Test accuracies of the last weights."""
    trainer = Trainer(seed=seed, budget=Budget(STEPS), batch_size=BATCH, device=device)
    instance = create(Method, method)
    network = instance.fit(training_view(task, instance.needs(), Ledger()), trainer)
    return accuracies(network.cpu(), task)


def gains(cells: Cells, method: str) -> list[float]:
    """Of each seed, the accuracy on conflicting rows above plain training's."""
    return [own.conflicting - erm.conflicting for own, erm in zip(cells[method], cells[PLAIN], strict=True)]


def page(folder: Folder, device: str) -> Iterator[str]:
    """The page, line by line."""
    yield from (
        "# Biased MNIST: learning the digit where color says it nearly always",
        "",
        f"Written by `python benchmarks/biased_mnist.py FOLDER {device}` on {date.today().isoformat()}. Task "
        "`colored-mnist-10` with all 70,000 images, 50,000 of which are for training; a perceptron with 100, 100, 100 "
        f"units, {STEPS:,} updates of {BATCH} rows, each method's default options (Adam, 1e-3) but for what is named, "
        "no search, last weights. Accuracy in % on test digits, whose colors are independent of the class: with "
        "another class's color (conflicting), with their own's (aligned), the mean and the least over the 100 pairs of "
        f"class and color. Mean over {SEEDS} seeds of data and weights with the interval by Student's t; the gain is "
        "paired by seed. Inputs lie in [0, 1]; the published figures are of inputs that were divided by 255 twice, and "
        "of many more updates, and cannot be compared. The last two methods are oracles: they are told the color of "
        "every training row.",
    )
    for strength in STRENGTHS:
        yield from section(strength, folder.cells(strength))


def section(strength: float, cells: Cells) -> Iterator[str]:
    """The table of one strength, and which methods clear the margin."""
    yield from (
        "",
        f"## {100 * strength:g} % of the digits have the color of their class",
        "",
        f"| method | {' | '.join(COLUMNS.values())} | gain on conflicting |",
        f"|---|{'---|' * (len(COLUMNS) + 1)}",
    )
    for method, of_seeds in cells.items():
        figures = [pages.percent([getattr(found, column) for found in of_seeds]) for column in COLUMNS]
        gain = "" if method == PLAIN else pages.percent(gains(cells, method))
        yield f"| `{method}` | {' | '.join([*figures, gain])} |"
    yield from ("", verdict(cells))


def verdict(cells: Cells) -> str:
    """Whether two methods that are not told the color clear the margin."""
    clear = [method for method in WITHOUT_COLOR if statistics.fmean(gains(cells, method)) >= MARGIN]
    surely = [method for method in clear if (mean_t(gains(cells, method)).low or 0.0) >= MARGIN]
    names, sure = (", ".join(f"`{method}`" for method in which) or "none" for which in (clear, surely))
    return (
        f"Of the methods that are not told the color, with a gain of at least {100 * MARGIN:g} points in the mean over "
        f"seeds: {names}; with an interval wholly above that: {sure}."
    )


def main() -> None:
    """Write the page; cells lie in the folder given, or in one that is thrown away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("device", nargs="?", default="cpu")
    parser.add_argument("workers", nargs="?", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(asked.folder or Path(temporary))
        folder.fill(asked.device, asked.workers)
        pages.write("biased_mnist.md", page(folder, asked.device))


if __name__ == "__main__":
    main()
