"""Pairs of MNIST digits on backgrounds whose color nearly always tells the pair."""

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
from holdfast.tasks.cues import associated, independent
from holdfast.tasks.image_set import FEWEST_ROWS, TEST, embedded_digits, read_image_set, splits_of
from holdfast.tasks.nuisance import image_chooser
from holdfast.tasks.painting import BackgroundReader, paint_background
from holdfast.tasks.pictures import cooccurrence, examples

BACKGROUND = "background"


@register(name="spuco-mnist")
@dataclass(frozen=True, kw_only=True)
class SpuCoMNIST(Task):
    """White digits, merged into five classes, on backgrounds that nearly always have the color of the class.

    The design of SpuCoMNIST in Joshi, Yang, Xue, Yang, Mirzasoleiman, *Towards mitigating spurious correlations in the
    wild: a benchmark and a more realistic dataset*, 2023, arXiv:2306.11957, rebuilt with our own colors and degrees.
    A background has its class's color with probability s, the strength of its environment, otherwise another class's.
    Three things make the background harder to read, or the digit less reliable: how much of it is colored, how much
    the colors vary, and wrong labels in all splits but the test. In ``test`` labels are right and the background is
    independent of the class.

    Inputs are (N, 3, 28, 28) in [0, 1], of 8 × 8 pixels from the embedded digits. Row ids are positions in the training
    file with the test file below it. ``render({"shape": …, "background": …}, noise_ids)`` takes row ids as noise: the
    class that a row's digit has gives its own image, another class an image of it from the same split; the noise of the
    color is the row's. The label, of which noise is a part, is not drawn.

    Attributes:
        classes: The ten digits are merged into so many classes: of 5, the first holds 0 and 1.
        strengths: One training environment for each: the probability that the background is the class's.
        coverage: The share of the height that is colored.
        color_noise: Standard deviation of the colors, for each image and channel.
        label_noise: Share of the rows outside the test whose label is another class than the digit's.
        source: The digits; ``digits`` needs no folder.
        rows: So many images are used, drawn evenly from the official splits; None for all.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits, labels and backgrounds.
    """

    classes: Annotated[int, Range(2, 10)] = 5
    strengths: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.995,)
    coverage: Annotated[float, Range(0.0, 1.0)] = 1.0
    color_noise: Annotated[float, Range(low=0.0)] = 0.0
    label_noise: Annotated[float, Range(0.0, 1.0)] = 0.0
    source: Literal["mnist", "digits"] = "mnist"
    rows: Annotated[int | None, Range(low=FEWEST_ROWS)] = None
    data_dir: str | None = None
    data_seed: int = 0

    def __post_init__(self) -> None:
        if not self.strengths:
            raise ValueError("strengths=[] leaves no training environment: give one probability at least")

    def load(self) -> TaskData:
        rng = self._rng("rows")
        found = (
            embedded_digits(rng, self.rows)
            if self.source == "digits"
            else read_image_set("mnist", self.data_dir, self.rows, rng)
        )
        digits = found.merged(self.classes)
        parts = digits.parts(self._rng("splits"))
        names = distinct(f"strength {strength:g}" for strength in self.strengths)
        environment = digits.environments(parts, names, ("independent backgrounds",), self._rng("environments"))
        label = self._labels(digits.labels, parts)
        background = self._background(label, parts, environment)
        noise = self.color_noise * torch.randn((len(parts), 3), generator=self._rng("color noise"))
        x = LazyInputs.of(BackgroundReader(digits.images, _rgb(background.codes, noise), self.coverage))
        columns = {BACKGROUND: background, "shape": Column(digits.labels, digits.classes)}
        splits = splits_of(Dataset(x, label, environment, columns, index=digits.index), parts)
        choose = image_chooser(digits.labels, parts)

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            rows = torch.searchsorted(digits.index, noise_ids)
            chosen = choose(factors["shape"], rows)
            return paint_background(digits.images[chosen], _rgb(factors[BACKGROUND], noise[rows]), self.coverage)

        own = tuple(range(self.classes))
        return TaskData(
            kind="classification",
            splits=splits,
            model=MLP(hidden=(256, 256)),
            steps=1000,
            batch_size=128,
            classes=digits.classes,
            groups=(BACKGROUND,),
            question="Which digits is it one of, when the background no longer goes with them as in training?",
            stable="the shape of the digit",
            shortcut=f"the color of the background, the class's own in training: {', '.join(names)}",
            pictures=(
                examples(splits, "label", digits.classes, BACKGROUND),
                cooccurrence(splits[0].data, BACKGROUND, digits.classes),
            ),
            render=render,
            associations={BACKGROUND: own, "shape": own},
        )

    def _labels(self, shape: Tensor, parts: Tensor) -> Tensor:
        """(N,) the digits' classes, some of them wrong outside the test."""
        right = torch.where(parts == TEST, 1.0, 1 - self.label_noise)
        return associated(shape, self.classes, right, parts * self.classes + shape, self._rng("labels"))

    def _background(self, label: Tensor, parts: Tensor, environment: Column) -> Column:
        test = parts == TEST
        codes = torch.empty_like(label)
        codes[test] = independent(label[test], self.classes, [BACKGROUND], self._rng("test backgrounds"))[BACKGROUND]
        cell = (parts * len(environment.names) + environment.codes) * self.classes + label
        strength = torch.tensor(self.strengths)[environment.codes[~test]]
        codes[~test] = associated(label[~test], self.classes, strength, cell[~test], self._rng("backgrounds"))
        return Column(codes, tuple(COLORS)[: self.classes])

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)


def _rgb(codes: Tensor, noise: Tensor) -> Tensor:
    """(N, 3) the colors with their noise."""
    return (torch.tensor(list(COLORS.values()))[codes] + noise).clamp(0, 1)
