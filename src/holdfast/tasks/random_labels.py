"""Images of which some or all labels were drawn at random: there is nothing to learn of those but to remember them."""

from __future__ import annotations

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
from holdfast.models.cnn import CNN
from holdfast.models.mlp import MLP
from holdfast.tasks.image_set import ImageSet, embedded_digits, read_color_set, read_image_set
from holdfast.tasks.pictures import examples

KEPT, CHANGED = "label kept", "label changed"
_ROLES: tuple[Role, ...] = ("train", "selection", "test")
_BATCH = 80
_PER_TRAIN_ROW = 2
"""So many images are read for each training row: a tenth more are for selection, and a few are official test rows."""


@register
@dataclass(frozen=True, kw_only=True)
class RandomLabels(Task):
    """MNIST, Fashion-MNIST, CIFAR-10 or the embedded digits with labels drawn at random for a part of the rows.

    Which mechanisms explain one example only? Those that remember it. A network that fits random labels has learnt
    nothing else (Zhang, Bengio, Hardt, Recht, Vinyals, *Understanding deep learning requires rethinking
    generalization*, ICLR 2017, arXiv:1611.03530); where every example is an environment (``and-mask:groups=row``), what
    is not shared cannot be learnt (Parascandolo et al., ICLR 2021, arXiv:2009.00329, section 3.2).

    Splits: ``train``; ``selection``, with labels drawn in the same way; ``test``, with the true ones. A random label
    may be the true one by chance. Column ``origin`` says which rows have another label than the true one: the accuracy
    in the training's group ``label changed`` is that under the wrong labels, as far as they are remembered.

    Attributes:
        source: The data set; ``digits`` needs no folder.
        fraction: Of the training and selection rows whose label is drawn.
        rows: Training rows, drawn evenly; None for all but those of selection and test.
        test_rows: Test rows at most; a tenth as many as the training rows are for selection.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes rows and labels.
    """

    source: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = "digits"
    fraction: Annotated[float, Range(0.0, 1.0)] = 1.0
    rows: Annotated[int | None, Range(low=20)] = 1000
    test_rows: Annotated[int, Range(low=20)] = 2000
    data_dir: str | None = None
    data_seed: int = 0

    def load(self) -> TaskData:
        found = self._images()
        roles = self._roles(found.official_test)
        drawn = torch.rand(len(roles), generator=self._rng("which")) < self.fraction
        random = torch.randint(len(found.classes), roles.shape, generator=self._rng("labels"))
        labels = torch.where(drawn & (roles != _ROLES.index("test")), random, found.labels)
        images = found.images if found.images.ndim == 4 else found.images[:, None]
        data = Dataset(
            x=images / 255,
            y=labels,
            environment=Column.constant(len(roles)),
            attributes={"origin": Column((labels != found.labels).long(), (KEPT, CHANGED))},
            index=found.index,
        )
        splits = tuple(
            Split(role, role, data.take((roles == part).nonzero()[:, 0]), shifted=role == "test" and self.fraction > 0)
            for part, role in enumerate(_ROLES)
        )
        color = self.source == "cifar10"
        return TaskData(
            kind="classification",
            splits=splits,
            model=CNN(channels=(32, 64, 128)) if color else MLP(hidden=(256,), activation="leaky-relu"),
            steps=(20 if color else 40) * len(splits[0].data) // _BATCH,
            batch_size=_BATCH,
            classes=found.classes,
            groups=("origin",),
            question="Are labels remembered that nothing explains?",
            stable="what is in the picture" if self.fraction < 1 else "",
            shortcut="what sets a picture apart from all others",
            pictures=(examples(splits, "label", found.classes),),
        )

    def _images(self) -> ImageSet:
        """A few more images than are needed."""
        if self.source == "digits":
            return embedded_digits(self._rng("splits"))
        enough = None if self.rows is None else max(_PER_TRAIN_ROW * self.rows, 7 * self.test_rows)
        read = read_color_set if self.source == "cifar10" else read_image_set
        return read(self.source, self.data_dir, enough, self._rng("rows"))

    def _roles(self, official_test: Tensor) -> Tensor:
        """(N,) places in the roles; −1 for rows that are not used."""
        roles = torch.full(official_test.shape, -1)
        order = torch.randperm(len(roles), generator=self._rng("roles"))
        free, test = order[~official_test[order]], order[official_test[order]]
        rows = len(free) * 10 // 11 if self.rows is None else self.rows
        if rows + rows // 10 > len(free):
            raise UserError(
                f"task {self.name!r}: {self.source} has {len(free):,} rows for training and selection, and "
                f"rows={rows:,} needs {rows + rows // 10:,}: ask for fewer"
            )
        roles[free[:rows]] = 0
        roles[free[rows : rows + rows // 10]] = 1
        roles[test[: self.test_rows]] = 2
        return roles

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)
