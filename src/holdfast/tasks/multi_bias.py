"""Digits with three shortcuts at once: color, background texture and position."""

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
from holdfast.core.words import distinct
from holdfast.models.mlp import MLP
from holdfast.tasks.cues import agreement, associated, independent
from holdfast.tasks.image_set import FEWEST_ROWS, TEST, small_digits, splits_of
from holdfast.tasks.nuisance import image_chooser
from holdfast.tasks.pictures import cooccurrence, examples
from holdfast.tasks.scenes import Stage

CUES = ("color", "texture", "position")


@register
@dataclass(frozen=True, kw_only=True)
class MultiBias(Task):
    """Digits of which color, background texture and position each tell the class in training, and nothing in the test.

    The dilemma of Li, Evtimov, Gordo, Hazirbas, Hassner, Canton Ferrer, Xu, Ibrahim, *A Whac-A-Mole dilemma: shortcuts
    come in multiples where mitigating one amplifies others*, CVPR 2023, arXiv:2212.04825, at laptop size: as in their
    UrbanCars each shortcut has the class's own value with probability 0.95, independently of the others; otherwise it
    has one of the other values. Here there are three shortcuts, and as many values of each as classes: value k goes
    with class k.

    A digit is painted in one of the colors of ``colored-digits``, put in one of the places around the middle of a
    canvas twice as large, and the rest of the canvas shows a texture, shifted at random (see
    :mod:`holdfast.tasks.scenes`). In ``test`` the shortcuts are independent of the class and of each other: color,
    texture within color, and position within both are dealt as evenly as the rows allow. The column ``agreement`` says
    which shortcuts have the class's value; its values are the groups of the evaluation.

    Inputs are (N, 3, 16, 16) in [0, 1] of scikit-learn's 1,797 digits, (N, 3, 28, 28) of MNIST at half its resolution.
    ``render({"label": …, "color": …, "texture": …, "position": …}, noise_ids)`` takes row ids as noise: the row's own
    label gives its own image, another label an image of that label from the same split; the shift of the texture is the
    row's.

    Attributes:
        color: The probability that the color is the class's, for each training environment; one number holds for all.
        texture: The same for the texture.
        position: The same for the position.
        classes: The ten digits are merged into so many classes: of 2, the first holds 0 to 4.
        texture_contrast: Brightness of the texture's bright half, against 1 of a figure's brightest pixel.
        source: The digits; ``digits`` needs no folder.
        rows: So many images are used, drawn evenly from the official splits; None for all.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits and shortcuts.
    """

    color: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.95,)
    texture: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.95,)
    position: Annotated[tuple[float, ...], Range(0.0, 1.0)] = (0.95,)
    classes: Annotated[int, Range(2, 10)] = 10
    texture_contrast: Annotated[float, Range(0.0, 1.0)] = 0.25
    source: Literal["digits", "mnist"] = "digits"
    rows: Annotated[int | None, Range(low=FEWEST_ROWS)] = None
    data_dir: str | None = None
    data_seed: int = 0

    def load(self) -> TaskData:
        strengths = self._strengths()
        digits = small_digits(self.source, self.data_dir, self.rows, self._rng("test rows")).merged(self.classes)
        parts = digits.parts(self._rng("splits"))
        names = distinct(", ".join(f"{cue} {s:g}" for cue, s in zip(CUES, row, strict=True)) for row in strengths)
        environment = digits.environments(parts, names, ("independent shortcuts",), self._rng("environments"))
        stage = Stage.random(digits.images, self.classes, self.texture_contrast, self._rng("phases"))
        cues = self._cues(digits.labels, parts, environment, torch.tensor(strengths))
        columns = {cue: Column(codes, stage.names[cue]) for cue, codes in cues.items()}
        attributes = {**columns, "agreement": agreement(cues, digits.labels)}
        rows = torch.arange(len(parts))
        x = LazyInputs.of(stage.scenes(rows, rows, **cues))
        splits = splits_of(Dataset(x, digits.labels, environment, attributes, index=digits.index), parts)
        choose = image_chooser(digits.labels, parts)

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            rows = torch.searchsorted(digits.index, noise_ids)
            chosen = choose(factors["label"], rows)
            return stage.scenes(chosen, rows, **{cue: factors[cue] for cue in CUES}).draw()

        return TaskData(
            kind="classification",
            splits=splits,
            model=MLP(hidden=(256, 256)),
            steps=800,
            batch_size=128,
            classes=digits.classes,
            groups=("agreement",),
            question="Which digit is it, when neither color nor texture nor position goes with it as in training?",
            stable="the shape of the digit",
            shortcut=f"color, texture and position, the class's own with probability: {'; '.join(names)}",
            pictures=(
                examples(splits, "label", digits.classes, "agreement"),
                *(cooccurrence(splits[0].data, cue, digits.classes) for cue in CUES),
            ),
            render=render,
            associations={cue: tuple(range(self.classes)) for cue in CUES},
        )

    def _strengths(self) -> list[tuple[float, float, float]]:
        """For each training environment the strengths of the shortcuts."""
        given = (self.color, self.texture, self.position)
        count = max(1, *map(len, given))
        for cue, strengths in zip(CUES, given, strict=True):
            if len(strengths) not in (1, count):
                raise UserError(
                    f"task {self.name!r}: {cue}={list(strengths)} has {len(strengths)} strengths where another "
                    f"shortcut has {count}: give one for all training environments, or one for each"
                )
        return list(zip(*(s * (count // len(s)) for s in given), strict=True))

    def _cues(self, labels: Tensor, parts: Tensor, environment: Column, strengths: Tensor) -> dict[str, Tensor]:
        """(N,) the codes of each shortcut."""
        test = parts == TEST
        free = independent(labels[test], self.classes, CUES, self._rng("test shortcuts"))
        cell = (parts * len(environment.names) + environment.codes) * self.classes + labels
        cues = {}
        for place, cue in enumerate(CUES):
            codes = torch.empty_like(labels)
            codes[test] = free[cue]
            strength = strengths[environment.codes[~test], place]
            codes[~test] = associated(labels[~test], self.classes, strength, cell[~test], self._rng(cue))
            cues[cue] = codes
        return cues

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)
