"""Digits whose color tells the label in training and misleads in the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Role, Split, Task, TaskData
from holdfast.core.words import distinct
from holdfast.models.mlp import MLP
from holdfast.tasks.image_set import embedded_digits
from holdfast.tasks.nuisance import image_chooser
from holdfast.tasks.pictures import cooccurrence, examples
from holdfast.tasks.stratify import stratified_parts

COLORS = {
    "red": (0.984, 0.313, 0.169),
    "yellow": (0.991, 0.916, 0.352),
    "mauve": (0.673, 0.461, 0.580),
    "sage": (0.783, 0.832, 0.601),
    "sky": (0.088, 0.778, 0.982),
    "green": (0.321, 0.961, 0.446),
    "blue": (0.025, 0.236, 0.759),
    "purple": (0.555, 0.102, 0.762),
    "olive": (0.208, 0.393, 0.019),
    "crimson": (0.834, 0.202, 0.267),
}
_SPLITS: dict[str, tuple[Role, float]] = {
    "train": ("train", 0.45),
    "selection": ("selection", 0.12),
    "holdout": ("holdout", 0.08),
    "test-same": ("test", 0.06),
    "test": ("test", 0.29),
}
_TEST = list(_SPLITS).index("test")
_TEST_ENVIRONMENT = "misleading colors"
_UNLABELLED: dict[str, tuple[Role, float]] = {"unlabelled": ("unlabelled", 0.8), "pool": ("pool", 0.2)}
_UNLABELLED_ENVIRONMENT = "colors of the unlabelled rows"


@register
@dataclass(frozen=True, kw_only=True)
class ColoredDigits(Task):
    """Scikit-learn's 1,797 digits of 8 × 8 pixels, painted so that color is a shortcut.

    In a training environment of strength s a digit has its label's color with probability s, otherwise one of the
    nine others, uniformly. In the split ``test`` the color is never the label's; the splits ``selection``,
    ``holdout`` and ``test-same`` are painted as in training. A pixel is intensity × color on black. The ten mean
    colors are those of Nam et al., *Learning from Failure* (NeurIPS 2020, arXiv:2007.02561), whose 10-class biased
    digits this follows; environments of different strength follow Arjovsky et al., *Invariant Risk Minimization*
    (2019, arXiv:1907.02893).

    Inputs are (N, 3, 8, 8) in [0, 1]. Row ids are positions in ``sklearn.datasets.load_digits``.
    With fewer classes neighboring digits are merged: of 2, the first holds 0 to 4. With several colors for each, any
    of a class's colors is its own, with equal probability.
    ``render({"label": …, "color": …}, noise_ids)`` takes row ids as noise: the row's own label gives its own image,
    another label an image of that label from the same split.

    Attributes:
        strengths: One training environment for each: the probability that the color is the label's.
        test_strength: The same probability in ``test``; 0.1 makes its colors independent of the label.
        palette: ``shared``: one map from label to color everywhere; ``per-environment``: maps that differ in every
            label; ``grey``: no color at all, the data of the oracle.
        classes: The ten digits are merged into so many classes.
        colors_per_class: So many colors go with each class, ten with all together at most.
        unlabelled: So large a part of the images is taken from training for rows without labels: four fifths for the
            split ``unlabelled``, one fifth for ``pool``, whose labels a method can buy.
        unlabelled_strength: The probability that the color is the label's in those two; None for uniform colors.
        data_seed: Fixes the splits and colors.
    """

    strengths: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.99, 0.90)
    test_strength: Annotated[float, Range(0.0, 1.0)] = 0.0
    palette: Literal["shared", "per-environment", "grey"] = "shared"
    classes: Annotated[int, Range(2, 10)] = 10
    colors_per_class: Annotated[int, Range(1, 5)] = 1
    unlabelled: Annotated[float, Range(0.0, 0.4)] = 0.0
    unlabelled_strength: Annotated[float | None, Range(0.0, 1.0)] = None
    data_seed: int = 0

    def load(self) -> TaskData:
        self._check()
        images, labels, classes = self._digits()
        shares = self._shares()
        parts = stratified_parts(labels, [share for _, share in shares.values()], self._rng("splits"))
        environment = self._environment(labels, parts)
        color = self._color(labels, environment.codes)
        data = Dataset(_paint(images, color), labels, environment, {"color": color})
        splits = tuple(
            Split(name, role, data.take((parts == part).nonzero()[:, 0]), shifted=self._shifted(part))
            for part, (name, (role, _)) in enumerate(shares.items())
        )
        choose = image_chooser(labels, parts)
        grey = self.palette == "grey"

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            chosen = choose(factors["label"], noise_ids)
            return _paint(images[chosen], Column(factors["color"], color.names))

        return TaskData(
            kind="classification",
            splits=splits,
            model=MLP(hidden=(128, 128)),
            classes=classes,
            groups=("color",),
            question="Which digit is it, when color no longer goes with the label as it did in training?",
            stable="the shape of the digit",
            shortcut="" if grey else f"its color, the label's own with probability {self._strength_text()} in training",
            notes=self._notes(),
            pictures=(examples(splits, "label", classes, "color"), cooccurrence(splits[0].data, "color", classes)),
            render=render,
            associations={"color": self._classes_of_colors() if self.palette == "shared" else ()},
        )

    def _check(self) -> None:
        most = min(9, self.classes - 1) if self.palette == "per-environment" else 9
        if not 1 <= len(self.strengths) <= most:
            raise UserError(f"task 'colored-digits': {len(self.strengths)} strengths are given: give one to {most}")
        if self.classes * self.colors_per_class > len(COLORS):
            raise UserError(
                f"task 'colored-digits': {self.colors_per_class} colors for each of {self.classes} classes are more "
                f"than the {len(COLORS)} that there are: ask for fewer"
            )

    def _digits(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Intensities (1797, 8, 8) in [0, 1], labels (1797,) and the names of the classes."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.tensor(digits.images / 16.0, dtype=torch.float32)
        merged = embedded_digits(self._rng("digits")).merged(self.classes)
        return images, merged.labels, merged.classes

    def _classes_of_colors(self) -> tuple[int, ...]:
        """The class that each color goes with."""
        return tuple(color // self.colors_per_class for color in range(self.classes * self.colors_per_class))

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)

    def _shares(self) -> dict[str, tuple[Role, float]]:
        """The splits with their roles and parts of the images."""
        if self.unlabelled == 0:
            return _SPLITS
        role, share = _SPLITS["train"]
        extra = {name: (role, part * self.unlabelled) for name, (role, part) in _UNLABELLED.items()}
        return {**_SPLITS, "train": (role, share - self.unlabelled), **extra}

    def _shifted(self, part: int) -> bool:
        return part == _TEST or (part > _TEST and self._strength_of_unlabelled() not in self.strengths)

    def _strength_of_unlabelled(self) -> float:
        return 1 / self.classes if self.unlabelled_strength is None else self.unlabelled_strength

    def _notes(self) -> tuple[str, ...]:
        if self.unlabelled == 0 or self._strength_of_unlabelled() < min(self.strengths):
            return ()
        return ("the unlabelled rows have the colors of training: they cannot tell shape and color apart",)

    def _strength_text(self) -> str:
        return " or ".join(f"{strength:g}" for strength in self.strengths)

    def _environment(self, labels: Tensor, parts: Tensor) -> Column:
        """Training environments of equal size in every split and label; the test has its own, and the unlabelled."""
        count = len(self.strengths)
        codes = stratified_parts(parts * self.classes + labels, [1.0] * count, self._rng("environments"))
        codes[parts >= _TEST] = count + (parts[parts >= _TEST] > _TEST).long()
        names = (*distinct(f"strength {strength:g}" for strength in self.strengths), _TEST_ENVIRONMENT)
        return Column(codes, (*names, _UNLABELLED_ENVIRONMENT) if self.unlabelled else names)

    def _color(self, labels: Tensor, environment: Tensor) -> Column:
        """The color of every row, of class label + shift modulo C, where the first shifts are the training maps'."""
        if self.palette == "grey":
            return Column.constant(len(labels), "grey")
        rng, rows, classes = self._rng("colors"), labels.shape, self.classes
        count = len(self.strengths)
        elsewhere = environment >= count
        if self.palette == "shared":
            maps, shifts, own = 1, torch.arange(classes), torch.zeros(rows, dtype=torch.int64)
        else:
            maps, shifts = count, torch.randperm(classes, generator=rng)
            own = torch.where(elsewhere, torch.randint(maps, rows, generator=rng), environment)
        strengths = torch.tensor([*self.strengths, self.test_strength, self._strength_of_unlabelled()])
        follows = torch.rand(rows, generator=rng) < strengths[environment]
        another = (own + torch.randint(1, classes, rows, generator=rng)) % classes
        no_map = torch.randint(maps, classes, rows, generator=rng)
        shift = torch.where(follows, own, torch.where(elsewhere, no_map, another))
        shade = torch.randint(self.colors_per_class, rows, generator=self._rng("shades"))
        codes = (labels + shifts[shift]) % classes * self.colors_per_class + shade
        return Column(codes, tuple(COLORS)[: classes * self.colors_per_class])


def _paint(images: Tensor, color: Column) -> Tensor:
    """Intensity × color: (N, 8, 8) → (N, 3, 8, 8)."""
    rgb = torch.tensor([COLORS.get(name, (1.0, 1.0, 1.0)) for name in color.names])
    return images[:, None] * rgb[color.codes][:, :, None, None]
