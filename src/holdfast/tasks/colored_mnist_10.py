"""MNIST in ten colors, of which nearly every digit has its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.lazy import LazyInputs
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Task, TaskData
from holdfast.core.words import distinct
from holdfast.models.mlp import MLP
from holdfast.tasks.colored_digits import COLORS
from holdfast.tasks.image_set import FEWEST_ROWS, read_image_set, splits_of
from holdfast.tasks.nuisance import image_chooser
from holdfast.tasks.painting import PaintedReader, paint
from holdfast.tasks.pictures import cooccurrence, examples


@register(name="colored-mnist-10")
@dataclass(frozen=True, kw_only=True)
class ColoredMNIST10(Task):
    """MNIST in ten colors: in training nearly every digit has the color of its class, in the test any color.

    Nam, Cha, Ahn, Lee, Shin, *Learning from failure: training debiased classifier from biased classifier*, NeurIPS
    2020, arXiv:2007.02561. A digit has its class's color with probability s, the strength of its environment, and
    otherwise one of the nine others; as in the authors' code, every environment and class has exactly that share of
    rows, up to rounding. A pixel is intensity × color on black; the color is the class's mean color plus normal noise
    for each image and channel, kept within [0, 1]. The paper's data are of one strength, 0.95, 0.98, 0.99 or 0.995:
    ``strengths=[0.99]``. Of the training images 50,000 train, the others are for selection, holdout and
    ``test-same``, painted as in training; ``test`` holds the official test images.

    Inputs are (N, 3, 28, 28) in [0, 1]. Row ids are positions in the training file with the test file below it.
    ``render({"label": …, "color": …}, noise_ids)`` takes row ids as noise: the row's own label gives its own image,
    another label an image of that label from the same split; the noise of the color is the row's.

    Attributes:
        strengths: One training environment for each: the probability that the color is the class's.
        test_strength: The same probability in ``test``; 0.1 makes its colors independent of the label.
        color_noise: Standard deviation of the colors; the paper's severities 1 to 4 are 0.05, 0.02, 0.01, 0.005.
        palette: ``shared``: ten colors; ``grey``: no color at all, the data of the oracle.
        rows: So many images are used, drawn evenly from the official splits; None for all 70,000.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits and colors.
    """

    strengths: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.995, 0.95)
    test_strength: Annotated[float, Range(0.0, 1.0)] = 0.1
    color_noise: Annotated[float, Range(low=0.0)] = 0.005
    palette: Literal["shared", "grey"] = "shared"
    rows: Annotated[int | None, Range(low=FEWEST_ROWS)] = None
    data_dir: str | None = None
    data_seed: int = 0

    def __post_init__(self) -> None:
        if not self.strengths:
            raise ValueError("strengths=[] leaves no training environment: give one probability at least")

    def load(self) -> TaskData:
        digits = read_image_set("mnist", self.data_dir, self.rows, self._rng("rows"))
        parts = digits.parts(self._rng("splits"))
        names = distinct(f"strength {strength:g}" for strength in (*self.strengths, self.test_strength))
        environment = digits.environments(parts, names[:-1], names[-1:], self._rng("environments"))
        color = self._color(digits.labels, parts, environment)
        noise = self.color_noise * torch.randn((len(parts), 3), generator=self._rng("color noise"))
        x = LazyInputs.of(PaintedReader(digits.images, _rgb(color, noise)))
        data = Dataset(x, digits.labels, environment, {"color": color}, index=digits.index)
        splits = splits_of(data, parts)
        choose = image_chooser(digits.labels, parts)

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            rows = torch.searchsorted(digits.index, noise_ids)
            chosen = choose(factors["label"], rows)
            return paint(digits.images[chosen], _rgb(Column(factors["color"], color.names), noise[rows]))

        return TaskData(
            kind="classification",
            splits=splits,
            model=MLP(hidden=(100, 100, 100)),
            steps=1500,
            batch_size=256,
            classes=digits.classes,
            groups=("color",),
            question="Which digit is it, when color no longer goes with the label as it did in training?",
            stable="the shape of the digit",
            shortcut="" if self.palette == "grey" else f"its color, the label's own {self._strength_text()}",
            pictures=(
                examples(splits, "label", digits.classes, "color"),
                cooccurrence(splits[0].data, "color", digits.classes),
            ),
            render=render,
            associations={"color": () if self.palette == "grey" else tuple(range(10))},
        )

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)

    def _strength_text(self) -> str:
        return f"with probability {' or '.join(f'{strength:g}' for strength in self.strengths)} in training"

    def _color(self, labels: Tensor, parts: Tensor, environment: Column) -> Column:
        if self.palette == "grey":
            return Column.constant(len(labels), "grey")
        rng = self._rng("colors")
        strength = torch.tensor([*self.strengths, self.test_strength])[environment.codes]
        cell = (parts * len(environment.names) + environment.codes) * 10 + labels
        another = torch.randint(1, 10, labels.shape, generator=rng)
        shift = torch.where(_share_of_cells(strength, cell, rng), 0, another)
        return Column((labels + shift) % 10, tuple(COLORS))


def _share_of_cells(share: Tensor, cell: Tensor, rng: torch.Generator) -> Tensor:
    """(N,) bool: true for this share of the rows of every cell, rounded; which ones is random.

    Args:
        share: (N,) in [0, 1], equal within a cell.
        cell: (N,) int64 codes.
        rng: Draws the rows.
    """
    shuffled = torch.randperm(len(cell), generator=rng)
    order = shuffled[torch.argsort(cell[shuffled], stable=True)]
    counts = torch.bincount(cell)
    rank = torch.empty_like(cell)
    rank[order] = torch.arange(len(cell)) - (counts.cumsum(0) - counts)[cell[order]]
    return rank < (share * counts[cell]).round()


def _rgb(color: Column, noise: Tensor) -> Tensor:
    """(N, 3) the colors with their noise; white, without noise, where there is no color."""
    if color.names == ("grey",):
        return torch.ones(len(color), 3)
    return (torch.tensor(list(COLORS.values()))[color.codes] + noise).clamp(0, 1)
