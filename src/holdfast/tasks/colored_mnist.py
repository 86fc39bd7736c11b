"""MNIST in two colors that tell the label better than the digit does, and lie in the test."""

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
from holdfast.tasks.image_set import FEWEST_ROWS, read_image_set, splits_of
from holdfast.tasks.nuisance import image_chooser
from holdfast.tasks.painting import PaintedReader, paint
from holdfast.tasks.pictures import cooccurrence, examples

COLORS = ("red", "green")


@register(name="colored-mnist")
@dataclass(frozen=True, kw_only=True)
class ColoredMNIST(Task):
    """MNIST with two classes, noisy labels and two colors: color tells the label better than the digit, then lies.

    Arjovsky, Bottou, Gulrajani, Lopez-Paz, *Invariant risk minimization*, 2019, arXiv:1907.02893: the class is
    whether the digit is below 5, flipped with probability ``label_noise``; the color is the class, flipped with the
    environment's probability. Every second pixel of every second line is kept and painted in one of two channels. At
    best a model of the digit alone is right in 75 % everywhere, one of the color in 85 % of the training and 10 % of
    the test. As in the authors' code 50,000 training images make the environments; unlike there, the test environment
    holds the 10,000 official test images, and what is left of the training images is for selection, holdout and
    ``test-same``, painted as in training.

    Inputs are (N, 2, 14, 14) in [0, 1]. Row ids are positions in the training file with the test file below it.
    ``render({"digit": …, "color": …}, noise_ids)`` takes row ids as noise: the row's own digit gives its own image,
    another digit an image of that digit from the same split; the label, of which noise is a part, is not drawn.

    Attributes:
        flips: One training environment for each: the probability that the color is not the class's.
        test_flip: The same probability in ``test``.
        label_noise: Probability that the class is not the digit's.
        palette: ``shared``: two colors; ``grey``: both channels alike, the data of the oracle.
        rows: So many images are used, drawn evenly from the official splits; None for all 70,000.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits, labels and colors.
    """

    flips: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.2, 0.1)
    test_flip: Annotated[float, Range(0.0, 1.0)] = 0.9
    label_noise: Annotated[float, Range(0.0, 1.0)] = 0.25
    palette: Literal["shared", "grey"] = "shared"
    rows: Annotated[int | None, Range(low=FEWEST_ROWS)] = None
    data_dir: str | None = None
    data_seed: int = 0

    def __post_init__(self) -> None:
        if not self.flips:
            raise ValueError("flips=[] leaves no training environment: give one probability at least")

    def load(self) -> TaskData:
        digits = read_image_set("mnist", self.data_dir, self.rows, self._rng("rows"))
        images = digits.images[:, ::2, ::2].contiguous()
        parts = digits.parts(self._rng("splits"))
        names = distinct(f"flip {flip:g}" for flip in (*self.flips, self.test_flip))
        environment = digits.environments(parts, names[:-1], names[-1:], self._rng("environments"))
        label = (digits.labels < 5) ^ self._flips("labels", torch.full(parts.shape, self.label_noise))
        color = self._color(label, environment)
        attributes = {"color": color, "digit": Column(digits.labels, digits.classes)}
        x = LazyInputs.of(PaintedReader(images, _channels(color)))
        data = Dataset(x, label.long(), environment, attributes, index=digits.index)
        splits = splits_of(data, parts)
        choose = image_chooser(digits.labels, parts)

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            chosen = choose(factors["digit"], torch.searchsorted(digits.index, noise_ids))
            return paint(images[chosen], _channels(Column(factors["color"], color.names)))

        classes = ("5 to 9", "0 to 4")
        return TaskData(
            kind="classification",
            splits=splits,
            model=MLP(hidden=(390, 390)),
            steps=800,
            batch_size=512,
            classes=classes,
            groups=("color",),
            question="Is the digit below 5, when color no longer goes with the label as it did in training?",
            stable=f"the digit, which gives the label with probability {1 - self.label_noise:g} everywhere",
            shortcut="" if self.palette == "grey" else f"its color, which differs from the label's {self._flip_text()}",
            pictures=(
                examples(splits, "digit", digits.classes, "color"),
                cooccurrence(splits[0].data, "color", classes),
            ),
            render=render,
            associations={"color": () if self.palette == "grey" else (0, 1), "digit": (1,) * 5 + (0,) * 5},
        )

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)

    def _flips(self, name: str, probability: Tensor) -> Tensor:
        """(N,) bool: true with these probabilities."""
        return torch.rand(probability.shape, generator=self._rng(name)) < probability

    def _flip_text(self) -> str:
        return f"with probability {' or '.join(f'{flip:g}' for flip in self.flips)} in training"

    def _color(self, label: Tensor, environment: Column) -> Column:
        if self.palette == "grey":
            return Column.constant(len(label), "grey")
        flip = torch.tensor([*self.flips, self.test_flip])[environment.codes]
        return Column((label ^ self._flips("colors", flip)).long(), COLORS)


def _channels(color: Column) -> Tensor:
    """(N, 2): the color's channel shows the image, the other nothing; both where there is no color."""
    return (torch.ones(1, 2) if color.names == ("grey",) else torch.eye(2))[color.codes]
