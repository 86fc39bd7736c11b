"""Whether a network and another lie in one basin: the straight line between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from holdfast.core.artifacts import Artifact
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.weight_space import Surroundings, drawn, measured, torch_stream
from holdfast.weights import (
    Evaluate,
    PermutationSpec,
    Profile,
    WeightTree,
    aligned,
    has_running_statistics,
    interpolated,
    line_profile,
    match_weights,
    read_weights,
    recalibrate,
    repair,
)

AS_THEY_ARE, ALIGNED, REPAIRED = "as they are", "units aligned", "units aligned, statistics repaired"


@register
@dataclass(frozen=True, kw_only=True)
class LinearPath(Evaluation):
    """Loss and error on the straight line to another network of the same architecture, and the barrier on it.

    Networks without a barrier can be averaged, and rely on the same things (E. S. Lubana, E. J. Bigelow, R. P. Dick,
    D. Krueger, H. Tanaka, *Mechanistic mode connectivity*, ICML 2023, arXiv:2211.08422). A barrier may stand there
    only because hidden units have no order: where the network is a chain of layers, the line is also drawn after the
    other's units are matched to this one's by their weights, and after the statistics that averaging shrinks are
    restored. Running statistics of batch normalisation are computed anew at each point.

    A barrier is the largest height above the chord between the ends: see :class:`holdfast.weights.Profile`.

    Attributes:
        other: A safetensors file with the other network's weights, or a folder with one, such as a cell's.
        points: On the line.
        max_rows: So many rows are used at most, of the training and of the test.
    """

    other: str
    points: Annotated[int, Range(low=3)] = 25
    max_rows: Annotated[int, Range(low=1)] = 2_000

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        around = Surroundings.of(predictor, task, self.max_rows, rng)
        if around is None:
            return Result()
        lines = _Lines.of(around, read_weights(self.other, around.module), rng)
        found: list[Measurement] = []
        shown: list[Artifact] = []
        losses = lines.profiles(around.objective(around.train), self.points)
        found += [measured(f"loss barrier, {name}", p.barrier, around.train, "train") for name, p in losses.items()]
        shown.append(drawn("training loss on the line", losses, "training loss"))
        if around.test is not None:
            what = "error" if around.classes else "loss"
            errors = lines.profiles(around.error_on_test(), self.points)
            found += [measured(f"{what} barrier, {name}", p.barrier, around.test, "test") for name, p in errors.items()]
            shown.append(drawn(f"test {what} on the line", errors, f"test {what}"))
        return Result(tuple(found), tuple(shown))


@dataclass(frozen=True, eq=False)
class _Lines:
    """The ways from a network to another.

    Attributes:
        around: The network.
        other: The other's weights.
        moved: The same with units where this network's are; None where the architecture is no chain of layers.
    """

    around: Surroundings
    other: WeightTree
    moved: WeightTree | None

    @staticmethod
    def of(around: Surroundings, other: WeightTree, rng: np.random.Generator) -> _Lines:
        try:
            spec = PermutationSpec.of(around.module)
        except UserError:
            return _Lines(around, other, None)
        order = torch_stream(rng)
        return _Lines(around, other, aligned(spec, match_weights(spec, around.tree, other, order), other))

    def profiles(self, evaluate: Evaluate, points: int) -> dict[str, Profile]:
        """A number along each of them."""
        module, tree, inputs = self.around.module, self.around.tree, self.around.inputs()

        def refreshed(weights: WeightTree) -> WeightTree:
            return recalibrate(module, weights, inputs)

        found = {AS_THEY_ARE: line_profile(tree, self.other, evaluate, points=points, mend=refreshed)}
        if self.moved is None:
            return found
        found[ALIGNED] = line_profile(tree, self.moved, evaluate, points=points, mend=refreshed)
        if not has_running_statistics(module):  # where there are some, they are repaired already
            found[REPAIRED] = self._repaired(evaluate, points)
        return found

    def _repaired(self, evaluate: Evaluate, points: int) -> Profile:
        assert self.moved is not None
        module, inputs = self.around.module, self.around.inputs()
        ends = self.around.tree, self.moved

        def at(t: float) -> WeightTree:
            merged = interpolated(*ends, t)
            mixed = [(1 - t, ends[0]), (t, ends[1])]
            return merged if t in (0.0, 1.0) else repair(module, merged, mixed, inputs)

        return Profile.along(at, evaluate, points)
