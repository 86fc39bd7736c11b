"""MNIST under corruptions: mild ones in training, other ones in the test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.lazy import LazyInputs
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Task, TaskData
from holdfast.models.mlp import MLP
from holdfast.perturbations import SIMPLE_CORRUPTIONS
from holdfast.tasks.image_set import FEWEST_ROWS, read_image_set, splits_of
from holdfast.tasks.painting import PaintedReader
from holdfast.tasks.pictures import examples

CLEAN = "clean"


@register(name="corrupted-mnist")
@dataclass(frozen=True, kw_only=True)
class CorruptedMNIST(Task):
    """MNIST or Fashion-MNIST whose environments are corruptions: mild ones in training, unseen ones in the test.

    The idea is that of Mu, Gilmer, *MNIST-C: a robustness benchmark for computer vision*, 2019, arXiv:1906.02337; the
    corruptions are those of :mod:`holdfast.perturbations.simple_corruptions`. Every image is corrupted once, and its
    values rounded to 8 bits. Of the training images five in six are for training, the others for selection, holdout and
    ``test-same``, under the corruptions of the training; ``test`` holds the official test images under the held-out
    ones.

    Inputs are (N, 1, 28, 28) in [0, 1]. Row ids are positions in the training file with the test file below it.

    Attributes:
        source: The data set.
        train: The corruptions of the training, one environment for each; ``clean`` is none.
        test: The corruptions of the test.
        train_severity: How strong those of the training are.
        test_severity: How strong those of the test are.
        rows: So many images are used, drawn evenly from the official splits; None for all 70,000.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits and corruptions.
    """

    source: Literal["mnist", "fashion_mnist"] = "mnist"
    train: tuple[str, ...] = (CLEAN, "brightness", "gaussian-noise")
    test: tuple[str, ...] = ("blur", "contrast", "pixelate", "stripes")
    train_severity: Annotated[int, Range(1, 5)] = 1
    test_severity: Annotated[int, Range(1, 5)] = 4
    rows: Annotated[int | None, Range(low=FEWEST_ROWS)] = None
    data_dir: str | None = None
    data_seed: int = 0

    def load(self) -> TaskData:
        train, test = self._environments()
        found = read_image_set(self.source, self.data_dir, self.rows, self._rng("rows"))
        parts = found.parts(self._rng("splits"))
        environment = found.environments(parts, train, test, self._rng("environments"))
        x = LazyInputs.of(PaintedReader(self._corrupted(found.images, environment), torch.ones(len(parts), 1)))
        data = Dataset(x, found.labels, environment, index=found.index)
        splits = splits_of(data, parts)
        what = {"mnist": "Which digit is it", "fashion_mnist": "Which garment is it"}[self.source]
        return TaskData(
            kind="classification",
            splits=splits,
            model=MLP(hidden=(256, 256)),
            steps=1500,
            batch_size=256,
            classes=found.classes,
            question=f"{what}, when the picture is corrupted as none was in training?",
            stable="the shape in the picture",
            pictures=(examples(splits, "label", found.classes),),
        )

    def _environments(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the environments of training and test: corruption and severity."""
        named = []
        for role, corruptions, severity in (
            ("train", self.train, self.train_severity),
            ("test", self.test, self.test_severity),
        ):
            if not corruptions:
                raise UserError(f"task {self.name!r}: {role}=[] leaves no environment: name one corruption at least")
            for corruption in corruptions:
                if corruption not in (CLEAN, *SIMPLE_CORRUPTIONS):
                    raise unknown_name(f"corruption of task {self.name!r}", corruption, (CLEAN, *SIMPLE_CORRUPTIONS))
            named.append(tuple(one if one == CLEAN else f"{one} {severity}" for one in corruptions))
        train, test = named
        for name, times in Counter(train + test).items():
            if times > 1:
                raise UserError(f"task {self.name!r}: {name!r} is there more than once: name it in train or in test")
        return train, test

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)

    def _corrupted(self, images: Tensor, environment: Column) -> Tensor:
        """(N, H, W) grey bytes, each image under the corruption of its environment."""
        corrupted = images.clone()
        for code in environment.present():
            name, _, severity = environment.names[code].partition(" ")
            rows = (environment.codes == code).nonzero()[:, 0]
            if name != CLEAN:
                x = SIMPLE_CORRUPTIONS[name](
                    images[rows, None] / 255, int(severity), self._rng(environment.names[code])
                )
                corrupted[rows] = (x[:, 0] * 255).round().to(torch.uint8)
        return corrupted
