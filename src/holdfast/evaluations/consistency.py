"""Whether weights that are as good for one environment are so for the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from holdfast.core.artifacts import Curve, Matrix, Table
from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.weight_space import Surroundings, measured, torch_stream
from holdfast.weights import (
    Bound,
    Inconsistency,
    LossesByEnvironment,
    Objective,
    WeightTree,
    WithinEachWeight,
    WithinNorm,
    by_environment,
    check_finite,
    diagonal_gauss_newton,
    diagonal_log_det_gap,
    flat,
    gauss_newton_matrix,
    kronecker_factors,
    kronecker_log_det_gap,
    level_set_search,
    log_det_gap,
    quadratic_inconsistency,
)

MOST_DENSE = 1_500
"""Weights of a network whose whole Gauss–Newton matrices are made."""
POINTS = 31

_SEARCH = "inconsistency / epsilon, search"
_QUADRATIC = "inconsistency / epsilon, quadratic"
_FULL = "log-det gap per weight, full"
_DIAGONAL = "log-det gap per weight, diagonal"
_KRONECKER = "log-det gap per weight, Kronecker"
BOUNDS: Mapping[str, type[WithinEachWeight] | type[WithinNorm]] = {"each-weight": WithinEachWeight, "norm": WithinNorm}


@register
@dataclass(frozen=True, kw_only=True)
class Consistency(Evaluation):
    """How far the loss of one training environment can change while that of another stays within epsilon.

    The score of G. Parascandolo, A. Neitz, A. Orvieto, L. Gresele, B. Schölkopf, *Learning explanations that are hard
    to vary*, ICLR 2021, arXiv:2009.00329 (equation 1), as a multiple of epsilon: 1 where all environments agree on
    which weights are good, large where a solution is a patchwork. Three views of it:

    - a search along level sets, which finds weights that prove a lower bound, and names the least consistent pair;
    - the closed form for quadratic losses of the environments' Gauss–Newton matrices, of networks of at most 1,500
      weights; with ``bound=norm`` the true value of that quadratic lies between it and twice it;
    - log-det gaps per weight of the Gauss–Newton matrices, of their diagonals and of their Kronecker factors: 0 where
      all environments are equally curved. Where a layer has more than a thousand weights, the Kronecker one is an
      upper bound.

    In a network with more weights than rows the score without a bound on the weights is infinite: the bound decides the
    number, and values are comparable for one bound, epsilon and architecture only. In double precision and evaluation
    mode.

    Attributes:
        epsilon: How much a loss may change, in its own units.
        bound: ``each-weight``: none changes by more than ``radius`` times its own size; ``norm``: the change is no
            longer than ``radius`` times the length of all weights.
        radius: Of the bound.
        restarts: Walks of the search for each pair of environments.
        steps: Of a walk, at most; in large networks more of them find more.
        damping: Of curvature in units of the weights' length; None for 2·epsilon / radius², what the radius amounts to.
        max_rows: So many training rows are used at most.
        max_environments: So many are compared, the largest.
    """

    epsilon: Annotated[float, Range(low=1e-9)] = 0.01
    bound: Literal["each-weight", "norm"] = "each-weight"
    radius: Annotated[float, Range(low=1e-6)] = 1.0
    restarts: Annotated[int, Range(low=1)] = 2
    steps: Annotated[int, Range(low=1)] = 60
    damping: Annotated[float | None, Range(low=0.0)] = None
    max_rows: Annotated[int, Range(low=1)] = 500
    max_environments: Annotated[int, Range(low=2)] = 8

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        around = Surroundings.of(predictor, task, self.max_rows, rng)
        if around is None:
            return Result()
        check_finite(around.tree.parameters)
        rows = _largest(around.train, self.max_environments)
        if len(rows.environment.present()) < 2:
            nothing = measured(_SEARCH, float("nan"), rows, "train")
            return Result((dataclasses.replace(nothing, note="there is one environment only: nothing to compare"),))
        objective, tree = around.exact(rows)
        losses = LossesByEnvironment(objective, tree)
        found = level_set_search(
            losses,
            losses.start,
            epsilon=self.epsilon,
            bound=self._bound,
            rng=torch_stream(rng),
            restarts=self.restarts,
            steps=self.steps,
        )
        numbers = [self._searched(found, losses.names, rows), *self._closed(objective, tree, losses.names)]
        left_out = len(around.train.environment.present()) - len(losses.names)
        table = self._table(numbers, left_out)
        shown = (_matrix(found, losses.names), _path(found, losses.names), _line(found, losses), table)
        return Result(tuple(numbers), shown, (self._finding(found, losses.names),))

    @property
    def _bound(self) -> Bound:
        return BOUNDS[self.bound](self.radius)

    @property
    def _damping(self) -> float:
        return 2 * self.epsilon / self.radius**2 if self.damping is None else self.damping

    def _searched(self, found: Inconsistency, names: tuple[str, ...], rows: Dataset) -> Measurement:
        number = measured(_SEARCH, found.value / self.epsilon, rows, "train")
        return dataclasses.replace(number, note=f"a lower bound; least consistent: {_named(found.pair, names)}")

    def _closed(self, objective: Objective, tree: WeightTree, names: tuple[str, ...]) -> list[Measurement]:
        """What the environments' curvatures say."""
        try:
            return _Curvatures(objective, tree, self._damping).measured(self._bound, self.epsilon, names)
        except RuntimeError as error:  # of torch, where an operation keeps no rows apart
            reason = str(error).partition("\n")[0][:150]
            raise UserError(f"consistency: torch cannot differentiate this network row by row ({reason})") from None

    def _table(self, numbers: list[Measurement], left_out: int) -> Table:
        weights = "each weight's own size" if self.bound == "each-weight" else "the length of all weights"
        settings = (
            f"Epsilon is {self.epsilon:g} in units of the loss, the radius {self.radius:g} times {weights}, the "
            f"damping of curvatures {self._damping:.3g} per squared length of the weights: these decide the numbers."
        )
        fewer = f" {left_out} smaller environments are left out." if left_out else ""
        rows = tuple((m.metric, m.value, m.note) for m in numbers)
        return Table("consistency of the training environments", ("number", "value", "remark"), rows, settings + fewer)

    def _finding(self, found: Inconsistency, names: tuple[str, ...]) -> Finding:
        kept, target = found.pair
        at_start, at_end = found.path.losses[0, target], found.path.losses[-1, target]
        return Finding(
            _named(found.pair, names),
            f"Weights that fit {names[kept]!r} as well, to {self.epsilon:g}, take the loss of {names[target]!r} from "
            f"{at_start:.3g} to {at_end:.3g}: these two environments are the least consistent.",
        )


@dataclass(frozen=True, eq=False)
class _Curvatures:
    """Gauss–Newton matrices of all environments around a network, with the length of its weights as the unit.

    Attributes:
        objective: With the rows of all environments.
        tree: Where.
        damping: Of their eigenvalues.
    """

    objective: Objective
    tree: WeightTree
    damping: float

    def measured(self, bound: Bound, epsilon: float, names: tuple[str, ...]) -> list[Measurement]:
        """The closed forms that this network allows; the others are not a number, with the reason."""
        parts = list(by_environment(self.objective).values())
        return [*self._dense(parts, bound, epsilon, names), self._diagonal(parts), self._kronecker(parts)]

    @property
    def _start(self) -> Tensor:
        return flat(self.tree.parameters)

    def _dense(self, parts: list[Objective], bound: Bound, epsilon: float, names: tuple[str, ...]) -> list[Measurement]:
        weights = len(self._start)
        if weights > MOST_DENSE:
            why = f"left out: the network has {weights:,} weights, more than {MOST_DENSE:,}"
            return [self._number(_QUADRATIC, float("nan"), why), self._number(_FULL, float("nan"), why)]
        matrices = torch.stack([gauss_newton_matrix(part, self.tree) for part in parts])
        unit = bound.unit(self._start)
        found = quadratic_inconsistency(unit[:, None] * matrices * unit, epsilon, self.damping)
        gap = log_det_gap(self._start.square().sum() * matrices, self.damping)
        least = f"least consistent: {_named(found.pair, names)}"
        return [self._number(_QUADRATIC, found.value / epsilon, least), self._number(_FULL, gap / weights)]

    def _diagonal(self, parts: list[Objective]) -> Measurement:
        diagonals = torch.stack([flat(diagonal_gauss_newton(part, self.tree)) for part in parts])
        gap = diagonal_log_det_gap(self._start.square().sum() * diagonals.clamp_min(0.0), self.damping)
        return self._number(_DIAGONAL, gap / len(self._start))

    def _kronecker(self, parts: list[Objective]) -> Measurement:
        try:
            factors = [kronecker_factors(part, self.tree) for part in parts]
        except UserError as error:
            return self._number(_KRONECKER, float("nan"), f"left out: {error}")
        squared = self._start.square().sum()
        scaled = [
            {name: dataclasses.replace(f, inputs=squared * f.inputs) for name, f in of_one.items()}
            for of_one in factors
        ]
        gap = kronecker_log_det_gap(scaled, self.damping)
        remark = f"an upper bound, by the layers {', '.join(gap.bounded)}" if gap.bounded else ""
        return self._number(_KRONECKER, gap.value / len(self._start), remark)

    def _number(self, metric: str, value: float, note: str = "") -> Measurement:
        return dataclasses.replace(measured(metric, value, self.objective.rows, "train"), note=note)


def _largest(rows: Dataset, most: int) -> Dataset:
    """The rows of the environments with the most rows."""
    environment = rows.environment
    counted = sorted(zip(environment.counts(), environment.present(), strict=True), key=lambda one: (-one[0], one[1]))
    kept = torch.tensor([code for _, code in counted[:most]], dtype=environment.codes.dtype)
    return rows.take(torch.isin(environment.codes, kept).nonzero()[:, 0])


def _matrix(found: Inconsistency, names: tuple[str, ...]) -> Matrix:
    return Matrix(
        "inconsistency of each two environments",
        tuple(tuple(row) for row in (found.matrix / found.epsilon).tolist()),
        names,
        names,
        x_label="changes",
        y_label="stays",
        caption="How far the loss of one gets from what the other's was, while the other's stays within epsilon: in "
        "epsilons, as far as was found.",
    )


def _path(found: Inconsistency, names: tuple[str, ...]) -> Curve:
    lengths = tuple(found.path.lengths.tolist())
    return Curve(
        "losses on the way to the least consistent weights",
        {name: (lengths, tuple(found.path.losses[:, k].tolist())) for k, name in enumerate(names)},
        "length of the way, as a fraction of that of the weights",
        "training loss",
        caption=f"The search's path for {_named(found.pair, names)}.",
    )


def _line(found: Inconsistency, losses: LossesByEnvironment) -> Curve:
    """The losses straight towards what was found, where that of the first need not stay within epsilon."""
    direction = found.path.weights - losses.start
    reach = float(direction.norm() / losses.start.norm())
    positions = np.linspace(0.0, 1.0, POINTS)
    with torch.no_grad():
        values = torch.stack([losses(losses.start + float(t) * direction) for t in positions])
    at = tuple((positions * reach).tolist())
    return Curve(
        "losses along the direction of least consistency",
        {name: (at, tuple(values[:, k].tolist())) for k, name in enumerate(losses.names)},
        "distance, as a fraction of the length of the weights",
        "training loss",
        caption=f"Straight to the weights found for {_named(found.pair, losses.names)}; between the ends the loss of "
        "the first may leave epsilon.",
    )


def _named(pair: tuple[int, int], names: tuple[str, ...]) -> str:
    return f"{names[pair[0]]} → {names[pair[1]]}"
