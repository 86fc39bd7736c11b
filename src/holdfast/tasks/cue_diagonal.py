"""Digits on the diagonal: in training all cues tell the class, in the test no two of them say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Task, TaskData
from holdfast.models.mlp import MLP
from holdfast.tasks.cues import conflicting
from holdfast.tasks.image_set import FEWEST_ROWS, TEST, small_digits, splits_of
from holdfast.tasks.nuisance import image_chooser
from holdfast.tasks.pictures import examples
from holdfast.tasks.scenes import Stage

Cue = Literal["color", "texture", "position"]


@register
@dataclass(frozen=True, kw_only=True)
class CueDiagonal(Task):
    """Digits whose color and position always tell the class in training; in the test each of the three says another.

    The setting WCST-ML of Scimeca, Oh, Chun, Poli, Yun, *Which shortcut cues will DNNs choose? A study from the
    parameter-space perspective*, ICLR 2022, arXiv:2110.03095: nothing in training says which cue is meant, so that the
    answers off the diagonal tell which one a network prefers. With the label of ``test`` being the digit, the share of
    answers that follow another cue is the accuracy on that cue's values; the shares of all cues and of anything else
    sum to one.

    Cues that are not named have one value at random, independent of the class: the background is black without
    ``texture``. Scenes are those of ``multi-bias`` (:mod:`holdfast.tasks.scenes`), and so are the inputs, the classes
    and ``render``.

    Attributes:
        cues: The cues beside the digit.
        classes: The ten digits are merged into so many classes, more than there are cues.
        texture_contrast: Brightness of the texture's bright half, against 1 of a figure's brightest pixel.
        source: The digits; ``digits`` needs no folder.
        rows: So many images are used, drawn evenly from the official splits; None for all.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits and cues.
    """

    cues: tuple[Cue, ...] = ("color", "position")
    classes: Annotated[int, Range(2, 10)] = 10
    texture_contrast: Annotated[float, Range(0.0, 1.0)] = 0.25
    source: Literal["digits", "mnist"] = "digits"
    rows: Annotated[int | None, Range(low=FEWEST_ROWS)] = None
    data_dir: str | None = None
    data_seed: int = 0

    def load(self) -> TaskData:
        self._check()
        digits = small_digits(self.source, self.data_dir, self.rows, self._rng("images")).merged(self.classes)
        parts = digits.parts(self._rng("splits"))
        contrast = self.texture_contrast if "texture" in self.cues else 0.0
        stage = Stage.random(digits.images, self.classes, contrast, self._rng("phases"))
        shown = self._shown(digits.labels, parts)
        environment = Column((parts == TEST).long(), ("diagonal", "off diagonal"))
        columns: dict[str, Column] = {cue: Column(shown[cue], stage.names[cue]) for cue in self.cues}
        rows = torch.arange(len(parts))
        x = LazyInputs.of(stage.scenes(rows, rows, **shown))
        splits = splits_of(Dataset(x, digits.labels, environment, columns, index=digits.index), parts)
        choose = image_chooser(digits.labels, parts)

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            rows = torch.searchsorted(digits.index, noise_ids)
            cues = {cue: factors[cue] if cue in self.cues else codes[rows] for cue, codes in shown.items()}
            return stage.scenes(choose(factors["label"], rows), rows, **cues).draw()

        named = " and ".join(self.cues)
        return TaskData(
            kind="classification",
            splits=splits,
            model=MLP(hidden=(256, 256)),
            steps=400,
            batch_size=128,
            classes=digits.classes,
            groups=self.cues[:1],
            question=f"Which cue does a network follow, digit, {' or '.join(self.cues)}, when each says another class?",
            stable="the shape of the digit, if that is what was meant: training does not say",
            shortcut=f"{named}, each the class's own in every training row",
            pictures=(examples(splits, "label", digits.classes, self.cues[0]),),
            render=render,
            associations=dict.fromkeys(self.cues, tuple(range(self.classes))),
        )

    def _shown(self, labels: Tensor, parts: Tensor) -> dict[str, Tensor]:
        """(N,) the values of all that a scene is made of."""
        rng = self._rng("other cues")
        shown = {
            cue: torch.randint(self.classes, labels.shape, generator=rng) for cue in ("color", "texture", "position")
        }
        off = conflicting(labels, self.classes, self.cues, self._rng("test cues"))
        return shown | {cue: torch.where(parts == TEST, off[cue], labels) for cue in self.cues}

    def _check(self) -> None:
        if not self.cues or len(set(self.cues)) < len(self.cues):
            raise UserError(f"task {self.name!r}: cues={list(self.cues)}: name each once, one at least")
        if self.classes <= len(self.cues):
            raise UserError(
                f"task {self.name!r}: the digit and {len(self.cues)} cues cannot all say another of "
                f"{self.classes} classes: ask for more classes or fewer cues"
            )

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)
