"""Two images on top of each other, of which one is easy and the other is meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Task, TaskData
from holdfast.core.words import distinct
from holdfast.models.cnn import CNN
from holdfast.models.mlp import MLP
from holdfast.tasks.cues import associated, independent
from holdfast.tasks.image_set import (
    FEWEST_ROWS,
    TEST,
    ImageSet,
    embedded_digits,
    read_color_set,
    read_image_set,
    splits_of,
)
from holdfast.tasks.nuisance import cells, image_chooser
from holdfast.tasks.painting import BytesReader
from holdfast.tasks.pictures import cooccurrence, examples

Half = Literal["top", "bottom"]
USUAL: Mapping[str, tuple[str, ...]] = {
    "digits": ("3", "8"),
    "fashion_mnist": ("Coat", "Dress"),
    "cifar10": ("truck", "automobile"),
}
"""The classes of a bottom half where none are named."""


@register
@dataclass(frozen=True, kw_only=True)
class Dominoes(Task):
    """A digit on top of a garment, a vehicle or another digit: one half is the label's, the other goes with it.

    Shah, Tamuly, Raghunathan, Jain, Netrapalli, *The pitfalls of simplicity bias in neural networks*, NeurIPS 2020,
    arXiv:2006.07710, put the digits 0 and 1 on CIFAR-10's trucks and automobiles, always matched: ``bottom=cifar10``
    with ``strength=[1]``. The label is the class of one half; the other half shows the image of its own class of the
    same number with this probability, otherwise of any other class. In ``test`` the other half is independent of the
    label. Images are drawn from the same split, so that no half is in two. The smaller images are in the middle of
    black ones of the larger size, and grey ones in color where the others are.

    Inputs are (N, 1 or 3, 2 S, S) in [0, 1] with S = 8, 28 or 32. Row ids are positions in the label's half's file.
    ``render({"label": …, HALF: …}, noise_ids)``, with ``top`` or ``bottom`` for the other half, takes row ids as noise:
    a half's own class gives its own image, another class an image of that class from the same split.

    Attributes:
        top: The images of the top half; ``digits`` needs no folder.
        bottom: Those of the bottom half.
        top_classes: Two classes or more of the top half, digits in quotes: ``["3","5"]``; empty for all.
        bottom_classes: As many of the bottom half, class k with class k; None for two usual ones, empty for all.
        label: The half whose class is the label.
        strength: One training environment for each: the probability that the other half goes with the label.
        rows: So many images are read for each half at most, drawn evenly from the official splits; None for all.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits and pairs.
    """

    top: Literal["mnist", "digits"] = "mnist"
    bottom: Literal["fashion_mnist", "cifar10", "digits"] = "fashion_mnist"
    top_classes: tuple[str, ...] = ("0", "1")
    bottom_classes: tuple[str, ...] | None = None
    label: Half = "bottom"
    strength: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.95,)
    rows: Annotated[int | None, Range(low=FEWEST_ROWS)] = None
    data_dir: str | None = None
    data_seed: int = 0

    def __post_init__(self) -> None:
        if not self.strength:
            raise ValueError("strength=[] leaves no training environment: give one probability at least")

    def load(self) -> TaskData:
        halves = self._halves()
        other: Half = "top" if self.label == "bottom" else "bottom"
        own, partner = halves[self.label], halves[other]
        if len(own.classes) != len(partner.classes):
            counts = " and ".join(f"{len(images.classes)} {half} classes" for half, images in halves.items())
            raise UserError(f"task {self.name!r}: {counts} make no pairs: name as many of each")
        parts, partner_parts = own.parts(self._rng("splits")), partner.parts(self._rng("splits of the other half"))
        names = distinct(f"strength {strength:g}" for strength in self.strength)
        environment = own.environments(parts, names, ("independent halves",), self._rng("environments"))
        shown = self._shown(own, parts, environment, other)
        choose = image_chooser(own.labels, parts)
        choose_partner = _partners(partner, partner_parts, parts, self._rng("pairs"))

        def stacked(label: Tensor, code: Tensor, rows: Tensor) -> Tensor:
            pair = {self.label: own.images[choose(label, rows)], other: partner.images[choose_partner(code, rows)]}
            return torch.cat([pair["top"], pair["bottom"]], dim=2)

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            rows = torch.searchsorted(own.index, noise_ids)
            return stacked(factors["label"], factors[other], rows) / 255

        x = LazyInputs.of(BytesReader(stacked(own.labels, shown, torch.arange(len(parts)))))
        data = Dataset(x, own.labels, environment, {other: Column(shown, partner.classes)}, index=own.index)
        splits = splits_of(data, parts)
        return TaskData(
            kind="classification",
            splits=splits,
            model=CNN(channels=(32, 64, 128)) if own.images.shape[1] == 3 else MLP(hidden=(256, 256)),
            steps=600,
            batch_size=128,
            classes=own.classes,
            groups=(other,),
            question=f"What is the {self.label} half, when the {other} half no longer goes with it as in training?",
            stable=f"the {self.label} half",
            shortcut=f"the {other} half, which goes with the label {self._strength_text()}",
            pictures=(
                examples(splits, "label", own.classes, other),
                cooccurrence(splits[0].data, other, own.classes),
            ),
            render=render,
            associations={other: tuple(range(len(own.classes)))},
        )

    def _halves(self) -> dict[Half, ImageSet]:
        """Both halves, (N, C, S, S) each, with their classes in the order in which they make pairs."""
        bottom_classes = USUAL[self.bottom] if self.bottom_classes is None else self.bottom_classes
        top, bottom = _alike(
            self._read(self.top, "top", self.top_classes), self._read(self.bottom, "bottom", bottom_classes)
        )
        return {"top": top, "bottom": bottom}

    def _read(self, source: str, half: Half, classes: tuple[str, ...]) -> ImageSet:
        """The images of these classes, of all where there are none."""
        if len(classes) == 1 or len(set(classes)) < len(classes):
            raise UserError(f"task {self.name!r}: {half}_classes={list(classes)}: name two different ones at least")
        rng = self._rng(f"images of the {half} half")
        if source == "digits":
            digits = embedded_digits(rng, self.rows)
            return digits.only(classes) if classes else digits
        read = read_color_set if source == "cifar10" else read_image_set
        return read(source, self.data_dir, self.rows, rng, classes)

    def _shown(self, own: ImageSet, parts: Tensor, environment: Column, other: Half) -> Tensor:
        """(N,) the class of the other half."""
        classes, test = len(own.classes), parts == TEST
        shown = torch.empty_like(own.labels)
        shown[test] = independent(own.labels[test], classes, [other], self._rng("test halves"))[other]
        cell = (parts * len(environment.names) + environment.codes) * classes + own.labels
        strength = torch.tensor(self.strength)[environment.codes[~test]]
        shown[~test] = associated(own.labels[~test], classes, strength, cell[~test], self._rng("other halves"))
        return shown

    def _strength_text(self) -> str:
        return f"with probability {' or '.join(f'{strength:g}' for strength in self.strength)} in training"

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)


def _alike(*sets: ImageSet) -> list[ImageSet]:
    """The sets with images of equal size and channels, (N, C, S, S)."""
    images = [found.images if found.images.ndim == 4 else found.images[:, None] for found in sets]
    side, channels = max(x.shape[-1] for x in images), max(x.shape[1] for x in images)
    alike = []
    for found, x in zip(sets, images, strict=True):
        before, after = (side - x.shape[-1]) // 2, (side - x.shape[-1] + 1) // 2
        grown = pad(x, (before, after, before, after)).expand(-1, channels, -1, -1)
        alike.append(dataclasses.replace(found, images=grown))
    return alike


def _partners(
    partner: ImageSet, partner_parts: Tensor, parts: Tensor, rng: torch.Generator
) -> Callable[[Tensor, Tensor], Tensor]:
    """Which image of the other half a row has: of the asked class and the row's split, at a place that is the row's.

    Returns:
        ``(classes, rows) -> images``: (M,) codes and positions to positions in the other half's images.
    """
    classes = len(partner.classes)
    order, counts, starts = cells(partner_parts * classes + partner.labels, classes * (TEST + 1))
    place = torch.rand(len(parts), generator=rng, dtype=torch.float64)

    def choose(code: Tensor, rows: Tensor) -> Tensor:
        cell = parts[rows] * classes + code
        return order[starts[cell] + (place[rows] * counts[cell]).long()]

    return choose
