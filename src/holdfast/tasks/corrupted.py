"""Another task of images, tested under common corruptions as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from holdfast.core.artifacts import ImageGrid, nested
from holdfast.core.errors import UserError
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Split, Task, TaskData
from holdfast.perturbations.corruptions import COMMON, Scale, check_names, corrupted_inputs
from holdfast.tasks.colored_digits import ColoredDigits
from holdfast.tasks.colored_mnist_10 import ColoredMNIST10
from holdfast.tasks.corrupted_mnist import CorruptedMNIST
from holdfast.tasks.image_folder import ImageFolder
from holdfast.tasks.table import TableFile

SHOWN = 8


@register
@dataclass(frozen=True, kw_only=True)
class Corrupted(Task):
    """Another task of images with a further test split for each corruption: trained clean, tested under it.

    The corruptions are those of Hendrycks, Dietterich, *Benchmarking neural network robustness to common corruptions
    and perturbations*, ICLR 2019, arXiv:1903.12261 (:mod:`holdfast.perturbations.corruptions`). A split such as
    ``test-fog`` holds the rows of the first test split that follows the training distribution, or of the first one
    where there is none, with the same row ids; corrupted images are made when a batch needs them. All other splits stay
    as they are.

    Attributes:
        task: The other task, by the name of its class; its inputs are grey or color images of 8 × 8 pixels at least.
        corruptions: Names of corruptions, by default the 15 of the benchmark.
        severity: Of all of them.
        scale: Whose amounts: ``cifar`` for small images, ``imagenet`` for those of about 224 pixels.
        corruption_seed: Fixes the randomness of the corruptions.
    """

    task: ColoredDigits | ColoredMNIST10 | CorruptedMNIST | ImageFolder | TableFile = ColoredDigits()
    corruptions: tuple[str, ...] = COMMON
    severity: Annotated[int, Range(1, 5)] = 3
    scale: Scale = "cifar"
    corruption_seed: int = 0

    def load(self) -> TaskData:
        return self._with_corruptions(self.task.load())

    def whole(self) -> TaskData:
        return self._with_corruptions(self.task.whole())

    def folds(self) -> Sequence[Corrupted]:
        # Options list the tasks that can be named; code may wrap any.
        return tuple(dataclasses.replace(self, task=fold) for fold in self.task.folds())  # type: ignore[arg-type]

    @property
    def title(self) -> str:
        return f"{self.task.title}, corrupted at severity {self.severity}"

    @property
    def question(self) -> str:
        return self.task.question

    @property
    def fold_name(self) -> str:
        return self.task.fold_name

    def _with_corruptions(self, data: TaskData) -> TaskData:
        check_names(self.corruptions)
        if not self.corruptions or len(set(self.corruptions)) < len(self.corruptions):
            raise UserError(f"task {self.name!r}: corruptions={list(self.corruptions)}: name each once, one at least")
        source = _source(data)
        if source is None:
            raise UserError(f"task {self.name!r}: {self.task.reference} has no test rows to corrupt: hold some out")
        corrupted = tuple(self._split(source, name) for name in self.corruptions)
        note = f"corrupted test splits, of severity {self.severity}, hold the rows of {source.name!r}"
        return dataclasses.replace(
            data,
            splits=(*data.splits, *corrupted),
            question=f"{data.question} And under common corruptions that training has not seen?",
            notes=(*data.notes, note),
            pictures=(*data.pictures, _pictures(source, corrupted)),
        )

    def _split(self, source: Split, corruption: str) -> Split:
        rows = source.data
        x = corrupted_inputs(
            rows.x,
            corruption,
            self.severity,
            scale=self.scale,
            index=rows.index,
            data_seed=self.corruption_seed,
        )
        return dataclasses.replace(source, name=f"test-{corruption}", data=dataclasses.replace(rows, x=x), shifted=True)


def _source(data: TaskData) -> Split | None:
    """The first test split that follows the training distribution, else the first; None where there is none."""
    splits = sorted(data.with_role("test"), key=lambda split: split.shifted)
    return splits[0] if splits else None


def _pictures(source: Split, corrupted: Sequence[Split]) -> ImageGrid:
    """The first images of a split, clean and under each corruption."""
    few = torch.arange(min(SHOWN, len(source.data)))
    images: list[Any] = []
    captions: list[str] = []
    for split in (source, *corrupted):
        x = split.data.batch(few).x
        assert isinstance(x, Tensor)  # images have been asked for
        images += [nested(image.expand(3, -1, -1).permute(1, 2, 0).tolist()) for image in x]
        captions += [split.name] * len(x)
    caption = "A row is a corruption; the first has none."
    return ImageGrid("Images under corruptions", tuple(images), tuple(captions), columns=len(few), caption=caption)
