"""Curves of low loss between two networks: trained Bezier curves and chains of straight pieces.

T. Garipov, P. Izmailov, D. Podoprikhin, D. Vetrov, A. G. Wilson, *Loss surfaces, mode connectivity, and fast ensembling
of DNNs*, NeurIPS 2018, arXiv:1802.10026.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from holdfast.core.errors import UserError
from holdfast.weights.directions import norm
from holdfast.weights.functional import Evaluate
from holdfast.weights.line import Profile
from holdfast.weights.tree import WeightTree, check_alike, combined, difference, interpolated

if TYPE_CHECKING:
    from holdfast.core.task import TrainingView
    from holdfast.training import Step, Trainer

Kind = Literal["bezier", "polygon"]


@dataclass(frozen=True, eq=False)
class Curve:
    """A path through weight space from t = 0 to t = 1.

    Attributes:
        kind: ``bezier``, which only its ends lie on, or ``polygon``, a chain of straight pieces through all points.
        points: The control points, the ends among them; two make a line.
    """

    kind: Kind
    points: tuple[WeightTree, ...]

    def at(self, t: float) -> WeightTree:
        """The weights at t in [0, 1]."""
        return combined(list(zip(coefficients(self.kind, len(self.points), t), self.points, strict=True)))

    def profile(
        self,
        evaluate: Evaluate,
        *,
        points: int = 61,
        mend: Callable[[WeightTree], WeightTree] = lambda tree: tree,
    ) -> Profile:
        """A number at evenly spaced t; ``mend`` is done to the weights first, as in ``line_profile``."""
        return Profile.along(lambda t: mend(self.at(t)), evaluate, points)

    def mean_along(self, profile: Profile) -> float:
        """The mean of a profile by arc length, as the trapezoidal rule has it."""
        trees = [self.at(t) for t in profile.positions]
        lengths = [float(norm(difference(b, a))) for a, b in itertools.pairwise(trees)]
        middles = [(one + other) / 2 for one, other in itertools.pairwise(profile.values)]
        return float(np.average(middles, weights=lengths))


def coefficients(kind: Kind, points: int, t: float) -> list[float]:
    """How much each of some control points counts at t; these sum to 1.

    >>> coefficients("bezier", 3, 0.5)
    [0.25, 0.5, 0.25]
    >>> coefficients("polygon", 3, 0.75)
    [0.0, 0.5, 0.5]
    """
    last = points - 1
    if kind == "bezier":
        return [math.comb(last, j) * t**j * (1 - t) ** (last - j) for j in range(points)]
    return [max(0.0, 1 - abs(t * last - j)) for j in range(points)]


class CurveNetwork(nn.Module):
    """A network whose weights are drawn anew from a curve at every pass while it trains, by t ~ U(0, 1).

    What is trained are the control points between the ends. In evaluation mode t is ½.

    Args:
        module: The architecture; a copy is taken.
        start: Weights of one end.
        end: Weights of the other.
        kind: Of the curve.
        bends: Control points between the ends; at first they lie on the line.
    """

    def __init__(self, module: nn.Module, start: WeightTree, end: WeightTree, kind: Kind, bends: int) -> None:
        super().__init__()
        check_alike([WeightTree.of(module), start, end])
        self.kind, self.bends, self.names = kind, bends, tuple(start.parameters)
        self.network = copy.deepcopy(module)
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        middle = [interpolated(start, end, (k + 1) / (bends + 1)) for k in range(bends)]
        self.middle = nn.ParameterList(nn.Parameter(w.clone()) for tree in middle for w in tree.parameters.values())
        for k, (one, other) in enumerate(zip(start.parameters.values(), end.parameters.values(), strict=True)):
            self.register_buffer(f"start_{k}", one.clone())
            self.register_buffer(f"end_{k}", other.clone())

    def forward(self, x: Any) -> Tensor:
        """(B, …) to (B, K)."""
        t = float(torch.rand(())) if self.training else 0.5
        return functional_call(self.network, self._at(t), (x,))  # type: ignore[no-any-return]

    def control_points(self) -> list[dict[str, Tensor]]:
        """The parameters of the points between the ends."""
        size = len(self.names)
        parts = [list(self.middle)[k * size : (k + 1) * size] for k in range(self.bends)]
        return [dict(zip(self.names, part, strict=True)) for part in parts]

    def _at(self, t: float) -> dict[str, Tensor]:
        factors = coefficients(self.kind, self.bends + 2, t)
        middle = self.control_points()
        return {
            name: factors[0] * self.get_buffer(f"start_{k}")
            + sum(f * point[name] for f, point in zip(factors[1:-1], middle, strict=True))
            + factors[-1] * self.get_buffer(f"end_{k}")
            for k, name in enumerate(self.names)
        }


def fit_curve(  # each by its name
    trainer: Trainer,
    module: nn.Module,
    ends: tuple[WeightTree, WeightTree],
    view: TrainingView,
    step: Step,
    *,
    kind: Kind = "bezier",
    bends: int = 1,
    stage: str = "curve",
) -> Curve:
    """Train the middle of a curve between two networks so that the loss is low along it, for the trainer's budget.

    One t is drawn for each batch, so that E[loss at t ~ U(0, 1)] is what falls; a small learning rate suits that.

    Args:
        trainer: Owns loop and budget.
        module: The architecture.
        ends: The weights of both ends.
        view: The training rows.
        step: What an update does, such as ``GradientStep()``; no aggregator, which would not see the curve's points.
        kind: Of the curve.
        bends: Control points between the ends, at least 1.
        stage: The trainer's name for it.

    Returns:
        The curve; running statistics of its points are averages of the ends', to be recalibrated.

    Raises:
        UserError: The ends are of different architectures, or there are no bends.
    """
    if bends < 1:
        raise UserError(f"a curve needs 1 bend at least, not {bends}: without one it is a line")
    start, end = ends
    network = CurveNetwork(module, start, end, kind, bends)
    trainer.fit(network, view, step, stage=stage)
    return Curve(kind, (start, *_points(network, start, end), end))


def _points(network: CurveNetwork, start: WeightTree, end: WeightTree) -> Sequence[WeightTree]:
    between = interpolated(start, end, 0.5)
    return [
        WeightTree(
            {name: w.detach().cpu().to(start.parameters[name].dtype).clone() for name, w in point.items()},
            between.buffers,
            between.counters,
        )
        for point in network.control_points()
    ]
