"""Two spirals that always tell the class, and vectors that tell it in one environment only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from holdfast.core.artifacts import Artifact, ImageGrid
from holdfast.core.data import Column, Dataset
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import numpy_rng
from holdfast.core.task import Role, Split, Task, TaskData
from holdfast.models.mlp import MLP

Floats = npt.NDArray[np.float64]


@register
@dataclass(frozen=True, kw_only=True)
class SpiralsShortcuts(Task):
    """The synthetic memorisation data of Parascandolo et al., *Learning explanations that are hard to vary*.

    ICLR 2021, arXiv:2009.00329, section 3.1 and appendix B, with the defaults of the authors' code and README. The
    first two inputs, the mechanism, are a point on one of two interleaved spirals: radius r ~ U(0.08, 1), angle
    2π · revs · r + π · y, then noise on the radius; each is divided by its standard deviation within the set. The other
    inputs, the shortcut, are one vector per environment, of normal entries: plus it for class 1, minus it for
    class 0. It is perfect in its environment and says nothing in another. In the test it is drawn afresh for every
    row, independently of the class.

    Splits: train; selection, of environments with shortcuts of their own (shifted); test-same, fresh rows of the
    training environments; test. Inputs are (N, 2 + d_shortcut).

    Attributes:
        environments: Training environments.
        rows_per_environment: Rows of each.
        d_shortcut: Length of the shortcut vector.
        shortcut_std: Standard deviation of its entries; the paper has d_shortcut=32 and 0.316.
        revs: Turns of a spiral.
        noise: Half-width of the uniform noise on the radius.
        selection_environments: Held-out environments to choose a checkpoint on.
        selection_rows: Rows of each of them.
        test_rows: Rows of the test, and of test-same up to rounding.
        data_seed: Fixes the data; environment e stays the same when there are more of them.
    """

    environments: Annotated[int, Range(low=1)] = 16
    rows_per_environment: Annotated[int, Range(low=2)] = 1024
    d_shortcut: Annotated[int, Range(low=2)] = 16
    shortcut_std: Annotated[float, Range(low=1e-10)] = 1.0
    revs: Annotated[float, Range(low=0.25)] = 3.0
    noise: Annotated[float, Range(low=0.0)] = 0.02
    selection_environments: Annotated[int, Range(low=1)] = 8
    selection_rows: Annotated[int, Range(low=2)] = 256
    test_rows: Annotated[int, Range(low=2)] = 2000
    data_seed: int = 0

    def load(self) -> TaskData:
        train = [f"environment {e}" for e in range(1, self.environments + 1)]
        selection = [f"selection {e}" for e in range(1, self.selection_environments + 1)]
        same_rows = max(2, round(self.test_rows / self.environments))
        plan: list[tuple[str, Role, bool, Sequence[str], int]] = [
            ("train", "train", False, train, self.rows_per_environment),
            ("selection", "selection", True, selection, self.selection_rows),
            ("test-same", "test", False, train, same_rows),
            ("test", "test", True, ["fresh shortcuts"], self.test_rows),
        ]
        names = (*train, *selection, "fresh shortcuts")
        splits = []
        first = 0
        for split, role, shifted, members, rows in plan:
            data = self._dataset(split, members, rows, names, first)
            splits.append(Split(split, role, data, shifted))
            first += len(data)
        return TaskData(
            kind="classification",
            splits=tuple(splits),
            model=MLP(hidden=(256, 256, 256), activation="leaky-relu"),
            steps=600,
            batch_size=256 * self.environments,
            classes=("0", "1"),
            question="Which spiral is it, where the shortcuts of the training environments no longer tell?",
            stable="two interleaved spirals in the first two inputs",
            shortcut="a vector that tells the class perfectly, another one in every environment",
            pictures=(_histograms(splits[0].data),),
        )

    def _dataset(self, split: str, members: Sequence[str], rows: int, names: tuple[str, ...], first: int) -> Dataset:
        """Equal numbers of rows from some environments; row ids count from ``first``."""
        drawn = [self._draw(split, name, rows) for name in members]
        codes = torch.tensor([names.index(name) for name in members]).repeat_interleave(rows)
        return Dataset(
            x=torch.cat([x for x, _ in drawn]),
            y=torch.cat([y for _, y in drawn]),
            environment=Column(codes, names),
            index=torch.arange(first, first + len(codes)),
        )

    def _draw(self, split: str, environment: str, rows: int) -> tuple[Tensor, Tensor]:
        """Inputs (rows, 2 + d_shortcut) and classes (rows,) of one environment."""
        rng = numpy_rng(self.data_seed, self.name, split, environment)
        y = rng.integers(2, size=rows)
        radius = rng.uniform(0.08, 1.0, rows)
        angle = 2 * np.pi * self.revs * radius + np.pi * y
        noisy = radius + rng.uniform(-self.noise, self.noise, rows)
        mechanism = np.stack([np.cos(angle), np.sin(angle)], axis=1) * noisy[:, None]
        x = np.concatenate([mechanism / mechanism.std(axis=0), self._shortcut(environment, y, rng)], axis=1)
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y)

    def _shortcut(self, environment: str, y: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
        if environment == "fresh shortcuts":
            return self.shortcut_std * rng.standard_normal((len(y), self.d_shortcut))
        own = numpy_rng(self.data_seed, self.name, "shortcut", environment)
        vector = self.shortcut_std * own.standard_normal(self.d_shortcut)
        return np.where(y[:, None] == 1, vector, -vector)


def permuted(data: Dataset, block: Literal["mechanism", "shortcut"], rng: torch.Generator) -> Dataset:
    """The rows of this task with one part of the inputs exchanged at random within each environment.

    That part then says nothing of the label, and is distributed as before.
    """
    x = torch.as_tensor(data.x).clone()
    columns = slice(None, 2) if block == "mechanism" else slice(2, None)
    for code in data.environment.present():
        rows = (data.environment.codes == code).nonzero()[:, 0]
        x[rows, columns] = x[rows[torch.randperm(len(rows), generator=rng)], columns]
    return dataclasses.replace(data, x=x)


def _histograms(train: Dataset) -> Artifact:
    """Where the rows of the two classes lie, in the mechanism and in the first two parts of the shortcut."""
    x, y = np.asarray(train.x), np.asarray(train.labels)
    return ImageGrid(
        "Training rows of the two classes",
        images=(_histogram(x[:, :2], y), _histogram(x[:, 2:4], y)),
        captions=("the mechanism: one pattern for all environments", "the shortcut: two points per environment"),
        columns=2,
        caption="Class 0 is blue, class 1 red, on black where there are no rows.",
    )


def _histogram(points: Floats, y: npt.NDArray[np.int64], bins: int = 64) -> Any:
    """A picture of where points (N, 2) of the classes lie; any row brightens its place by half at least."""
    limit = float(np.abs(points).max())
    image = np.zeros((bins, bins, 3))
    for channel, label in ((2, 0), (0, 1)):
        here = points[y == label]
        counts = np.histogram2d(here[:, 1], here[:, 0], bins=bins, range=[[-limit, limit]] * 2)[0]
        image[::-1, :, channel] = np.where(counts > 0, 0.5 + 0.5 * counts / max(1.0, counts.max()), 0.0)
    return tuple(tuple(tuple(pixel) for pixel in row) for row in image.round(3).tolist())
