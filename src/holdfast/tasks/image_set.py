"""A data set of small images with classes, such as MNIST, and how its rows are dealt into splits.

Of the official training images five in six are for training, the others for selection, holdout and ``test-same``; the
official test images are ``test``. Of the few embedded digits more are for selection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.task import Role, Split
from holdfast.tasks.data_folder import data_set_folder
from holdfast.tasks.stratify import stratified_parts

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

FEWEST_ROWS = 1000
_ROLES: dict[str, Role] = {
    "train": "train",
    "selection": "selection",
    "holdout": "holdout",
    "test-same": "test",
    "test": "test",
}
TEST = list(_ROLES).index("test")
_SHARES = (50 / 60, 4 / 60, 3 / 60, 3 / 60)
_SHARES_OF_FEW = (0.7, 0.12, 0.06, 0.12)


@dataclass(frozen=True)
class ImageSet:
    """N images.

    Attributes:
        images: (N, H, W) uint8, grey, or (N, 3, H, W) in color.
        labels: (N,) int64 classes.
        official_test: (N,) bool, the rows of the official test split.
        index: (N,) int64 positions in the training file with the test file below it.
        classes: Names of the classes.
        shares: Of the rows that are not of the official test, in each of the other splits.
    """

    images: Tensor
    labels: Tensor
    official_test: Tensor
    index: Tensor
    classes: tuple[str, ...]
    shares: tuple[float, ...] = _SHARES

    def parts(self, rng: torch.Generator) -> Tensor:
        """(N,) the split of every row: 0 to 3 as dealt, evenly over classes; ``TEST`` for the official test."""
        parts = torch.full((len(self.labels),), TEST)
        dealt = (~self.official_test).nonzero()[:, 0]
        parts[dealt] = stratified_parts(self.labels[dealt], self.shares, rng)
        return parts

    def environments(
        self, parts: Tensor, train: tuple[str, ...], test: tuple[str, ...], rng: torch.Generator
    ) -> Column:
        """Environments of nearly equal size in every split and class.

        Args:
            parts: (N,) splits of the rows.
            train: Names of those in all splits but the test.
            test: Names of those in the test.
            rng: Deals the rows.
        """
        strata = parts * len(self.classes) + self.labels
        in_test = parts == TEST
        codes = torch.empty_like(parts)
        codes[~in_test] = stratified_parts(strata[~in_test], [1.0] * len(train), rng)
        codes[in_test] = len(train) + stratified_parts(strata[in_test], [1.0] * len(test), rng)
        return Column(codes, (*train, *test))

    def only(self, classes: tuple[str, ...]) -> ImageSet:
        """The images of these classes alone, which are numbered as they are named.

        Raises:
            UserError: There is no such class.
        """
        for name in classes:
            if name not in self.classes:
                raise unknown_name("class", name, self.classes)
        code = torch.full((len(self.classes),), -1)
        code[[self.classes.index(name) for name in classes]] = torch.arange(len(classes))
        labels = code[self.labels]
        rows = (labels >= 0).nonzero()[:, 0]
        return dataclasses.replace(
            self,
            images=self.images[rows],
            labels=labels[rows],
            official_test=self.official_test[rows],
            index=self.index[rows],
            classes=classes,
        )

    def halved(self) -> ImageSet:
        """The same images at half their resolution: each pixel is the mean of four, rounded."""
        grey = self.images.float()
        mean = (grey[:, ::2, ::2] + grey[:, 1::2, ::2] + grey[:, ::2, 1::2] + grey[:, 1::2, 1::2]) / 4
        return dataclasses.replace(self, images=mean.round().to(torch.uint8))

    def merged(self, classes: int) -> ImageSet:
        """The same images with neighboring classes merged into so many, of nearly equal numbers of old ones."""
        code = torch.arange(len(self.classes)) * classes // len(self.classes)
        old = [
            [name for name, new in zip(self.classes, code.tolist(), strict=True) if new == k] for k in range(classes)
        ]
        names = tuple(few[0] if len(few) == 1 else f"{few[0]} to {few[-1]}" for few in old)
        return dataclasses.replace(self, labels=code[self.labels], classes=names)


def embedded_digits(rng: torch.Generator, rows: int | None = None) -> ImageSet:
    """Scikit-learn's 1,797 digits of 8 × 8 pixels, about a quarter of them for the test.

    Args:
        rng: Draws the test rows.
        rows: So many images at most, the first ones; None for all.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images[:rows] * (255 / 16)).round().to(torch.uint8)
    official_test = torch.rand(len(images), generator=rng) < 0.25
    labels, classes = torch.tensor(digits.target[:rows]), tuple(map(str, range(10)))
    return ImageSet(images, labels, official_test, torch.arange(len(images)), classes, _SHARES_OF_FEW)


def small_digits(
    source: Literal["digits", "mnist"], data_dir: str | None, rows: int | None, rng: torch.Generator
) -> ImageSet:
    """Digits of few pixels: the embedded ones of 8 × 8, or MNIST at half its resolution, 14 × 14.

    Args:
        source: Which of them; ``digits`` needs no folder.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        rows: So many images; None for all.
        rng: Draws them, or the test rows of the embedded ones.

    Raises:
        UserError: The data set cannot be found or is not as expected.
    """
    if source == "digits":
        return embedded_digits(rng, rows)
    return read_image_set(source, data_dir, rows, rng).halved()


def read_image_set(
    name: str, data_dir: str | None, rows: int | None, rng: torch.Generator, classes: tuple[str, ...] = ()
) -> ImageSet:
    """Read a data set of grey images with the columns ``image`` and ``label``.

    Args:
        name: Of the data set.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        rows: So many images at random, evenly from the official splits; None for all.
        rng: Draws them.
        classes: Of these the images of these classes alone; empty for all.

    Raises:
        UserError: The data set cannot be found or is not as expected, or has no such class.
    """
    return _read(name, data_dir, rows, rng, classes, _grey_bytes)


def read_color_set(
    name: str, data_dir: str | None, rows: int | None, rng: torch.Generator, classes: tuple[str, ...] = ()
) -> ImageSet:
    """The same for a data set in color, whose images may stand in a column ``img``."""
    return _read(name, data_dir, rows, rng, classes, _color_bytes)


def _read(
    name: str,
    data_dir: str | None,
    rows: int | None,
    rng: torch.Generator,
    classes: tuple[str, ...],
    bytes_of: Callable[[pd.Series, str], Tensor],
) -> ImageSet:
    from holdfast.tables import encode_column, read_table

    folder = data_set_folder(name, data_dir)
    frame = read_table(folder).rename(columns={"img": "image"})
    _check(frame, folder)
    frame = frame.sort_values("split", key=lambda split: split == "test", kind="stable", ignore_index=True)
    index = torch.arange(len(frame))
    official_test = torch.tensor((frame["split"] == "test").to_numpy())
    if rows is not None and rows < len(frame):
        order = torch.randperm(len(frame), generator=rng)
        evenly = order[torch.argsort(official_test[order].long(), stable=True)]
        index = evenly[torch.arange(rows) * len(frame) // rows].sort()[0]
    frame = frame.iloc[index.numpy()]
    labels = encode_column(frame["label"])
    places = ImageSet(torch.arange(len(frame)), torch.tensor(labels.codes), official_test[index], index, labels.names)
    places = places.only(classes) if classes else places
    images = bytes_of(frame["image"].iloc[places.images.numpy()], str(folder))
    return dataclasses.replace(places, images=images)


def _grey_bytes(images: pd.Series, where: str) -> Tensor:
    """(N, H, W) uint8."""
    return _bytes(images, where, channels=1)[:, 0]


def _color_bytes(images: pd.Series, where: str) -> Tensor:
    """(N, 3, H, W) uint8."""
    return _bytes(images, where, channels=3)


def _bytes(images: pd.Series, where: str, channels: int) -> Tensor:
    from holdfast.images import StoredReader, encoded_images

    reader, _ = encoded_images(images, where)
    stored = dataclasses.replace(reader, row_shape=(channels, *reader.row_shape[1:])).in_memory()
    if not isinstance(stored, StoredReader):
        raise UserError(f"{where} has images of more than 8 bits per value: get the data set again")
    return stored.pixels


def splits_of(data: Dataset, parts: Tensor) -> tuple[Split, ...]:
    """The rows of each part as a split; only ``test`` is shifted."""
    return tuple(
        Split(name, role, data.take((parts == part).nonzero()[:, 0]), shifted=part == TEST)
        for part, (name, role) in enumerate(_ROLES.items())
    )


def _check(frame: pd.DataFrame, folder: Path) -> None:
    for column in ("image", "label", "split"):
        if column not in frame:
            missing = "no test file beside the training file" if column == "split" else f"no column {column!r}"
            raise UserError(f"{folder} has {missing}: get the data set again")
    if frame["label"].hasnans:
        raise UserError(f"{folder} has rows without a label: get the data set again")
