"""One simple and many complex coordinates that tell the class equally well."""

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
from holdfast.models.mlp import MLP
from holdfast.tasks.nuisance import image_chooser
from holdfast.tasks.slab_coordinates import largest_margin, linear_coordinate, slab_coordinate

CLASSES = ("0", "1")
BLOCKS = ("simple", "complex")
TEST_ROWS = 5000
_SPLITS: dict[str, tuple[Role, float]] = {
    "train": ("train", 1.0),
    "selection": ("selection", 0.1),
    "holdout": ("holdout", 0.1),
    "test-same": ("test", 0.0),
    "test": ("test", 0.0),
    "test-complex-random": ("test", 0.0),
}
_RANDOM = {"test": "simple", "test-complex-random": "complex"}

Kind = Literal["linear", "3-slab", "5-slab", "7-slab"]


@register
@dataclass(frozen=True, kw_only=True)
class Slabs(Task):
    """One simple coordinate and many complex ones, each of which tells the class; the test makes the simple one lie.

    Shah, Tamuly, Raghunathan, Jain, Netrapalli, *The pitfalls of simplicity bias in neural networks*, NeurIPS 2020,
    arXiv:2006.07710. A linear coordinate tells the class by its sign, a k-slab coordinate by which of k intervals it
    lies in (:mod:`holdfast.tasks.slab_coordinates`); coordinates are independent given the class. The default is LMS-5;
    ``complex=7-slab`` makes LMS-7, with ``noise=0.1`` as well the noisy one, in which only the slabs tell the class
    always, and with ``simple=5-slab`` MS-(5,7).

    Rows are the coordinates, the simple one first, rotated at random: x = coordinates @ :meth:`rotation`. In ``test``
    the simple coordinate is that of a class independent of the label, in ``test-complex-random`` all others are;
    ``test-same`` is as training. Columns ``simple`` and ``complex`` say of which class each block is.

    Inputs are (N, dimensions). ``render({"simple": …, "complex": …}, noise_ids)`` takes row ids as noise: for the
    class that a block of the row has it gives that block, for the other class a block of that class from the same
    split, of all coordinates together; the label is not drawn.

    Attributes:
        simple: The first coordinate.
        complex: All others.
        dimensions: Coordinates in all.
        noise: Share of the rows, of both classes, whose linear coordinate is uniform within the margin instead.
        margin: Half the distance between slabs, and the distance of the linear coordinate from 0.
        rotate: Whether the coordinates are rotated.
        rows: Training rows; a tenth as many each are for selection and holdout, and 5,000 for each test split.
        data_seed: Fixes the rows and the rotation.
    """

    simple: Kind = "linear"
    complex: Kind = "5-slab"
    dimensions: Annotated[int, Range(2, 1000)] = 50
    noise: Annotated[float, Range(0.0, 1.0)] = 0.0
    margin: Annotated[float, Range(low=0.0)] = 0.1
    rotate: bool = True
    rows: Annotated[int, Range(low=100)] = 20_000
    data_seed: int = 0

    def load(self) -> TaskData:
        self._check()
        sizes = [round(share * self.rows) or TEST_ROWS for _, share in _SPLITS.values()]
        parts = torch.repeat_interleave(torch.tensor(sizes))
        label = torch.randint(2, parts.shape, generator=self._rng("labels"))
        shown = self._shown(label, parts)
        coordinates = self._coordinates(shown)
        rotation = self.rotation()
        choose = {block: image_chooser(shown[block], parts) for block in BLOCKS}

        def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
            simple, complex_ = (coordinates[choose[block](factors[block], noise_ids)] for block in BLOCKS)
            return (torch.cat([simple[:, :1], complex_[:, 1:]], dim=1) @ rotation).float()

        columns = {block: Column(codes, CLASSES) for block, codes in shown.items()}
        x = render(shown, torch.arange(len(parts)))
        data = Dataset(x, label, Column.constant(len(parts)), columns)
        return TaskData(
            kind="classification",
            splits=tuple(
                Split(name, role, data.take((parts == part).nonzero()[:, 0]), shifted=name in _RANDOM)
                for part, (name, (role, _)) in enumerate(_SPLITS.items())
            ),
            model=MLP(hidden=(100, 100)),
            steps=1000,
            batch_size=256,
            classes=CLASSES,
            groups=("simple",),
            question=f"Which class is it, when the {self.simple} coordinate no longer tells it as it did in training?",
            stable=f"{self.dimensions - 1} {self.complex} coordinates, each of which tells the class alone",
            shortcut=f"one {self.simple} coordinate, which tells the class{self._noise_text()}",
            render=render,
            associations=dict.fromkeys(BLOCKS, (0, 1)),
        )

    def rotation(self) -> Tensor:
        """The orthogonal matrix (d, d), in float64, whose row k is the direction of coordinate k in the inputs."""
        if not self.rotate:
            return torch.eye(self.dimensions, dtype=torch.float64)
        normal = torch.randn(2 * (self.dimensions,), generator=self._rng("rotation"), dtype=torch.float64)
        q, r = torch.linalg.qr(normal)
        uniform: Tensor = q * r.diagonal().sign()  # over all rotations and reflections
        return uniform

    def _shown(self, label: Tensor, parts: Tensor) -> dict[str, Tensor]:
        """(N,) the class that each block shows: the label's, or one drawn where a test is about the other block."""
        drawn = torch.randint(2, label.shape, generator=self._rng("test blocks"))
        names = list(_SPLITS)
        random = {block: names.index(name) for name, block in _RANDOM.items()}
        return {block: torch.where(parts == random[block], drawn, label) for block in BLOCKS}

    def _coordinates(self, shown: Mapping[str, Tensor]) -> Tensor:
        """(N, d) float64, before rotation."""
        first = self._coordinate(self.simple, shown["simple"], 0)
        if self.noise:
            rng = self._rng("noise")
            useless = torch.rand(first.shape, generator=rng) < self.noise
            within = (2 * torch.rand(first.shape, generator=rng, dtype=torch.float64) - 1) * self.margin
            first = torch.where(useless, within, first)
        others = [self._coordinate(self.complex, shown["complex"], k) for k in range(1, self.dimensions)]
        return torch.stack([first, *others], dim=1)

    def _coordinate(self, kind: Kind, label: Tensor, place: int) -> Tensor:
        rng = self._rng(f"coordinate {place}")
        if kind == "linear":
            return linear_coordinate(label, self.margin, rng)
        return slab_coordinate(label, int(kind[0]), self.margin, rng)

    def _check(self) -> None:
        if self.noise and self.simple != "linear":
            raise UserError(f"task {self.name!r}: noise={self.noise:g} is of a linear coordinate: set simple=linear")
        for kind in (self.simple, self.complex):
            most = 1.0 if kind == "linear" else largest_margin(int(kind[0]))
            if self.margin >= most:
                raise UserError(
                    f"task {self.name!r}: margin={self.margin:g} leaves no width to a {kind} coordinate within "
                    f"[-1, 1]: give one below {most:.3g}"
                )

    def _noise_text(self) -> str:
        return f" but in {self.noise:.0%} of the rows" if self.noise else ""

    def _rng(self, name: str) -> torch.Generator:
        return torch_rng(self.data_seed, self.name, name)
