"""How far one environment's loss can change while another's stays: the inconsistency of a solution, by search.

G. Parascandolo, A. Neitz, A. Orvieto, L. Gresele, B. Schölkopf, *Learning explanations that are hard to vary*, ICLR
2021, arXiv:2009.00329. In their words a solution θ* is hard to vary if every region of weights that one environment
finds as good as θ* is so for the others. With N_e the largest connected region around θ* on which environment e's loss
stays within ε of L_e(θ*), the inconsistency is

    I(θ*) = max over e, e' and θ in N_e of |L_e'(θ) − L_e(θ*)|.

A network with more weights than an environment has rows lets N_e reach to infinity, so that the number means something
only with a bound on the weights, such as :class:`WithinEachWeight`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.errors import UserError

Array = NDArray[np.float64]
LossesAt = Callable[[Tensor], Tensor]
"""From weights (P,) to the losses (E,) of all environments, differentiable."""

STEPS_ACROSS = 20
"""The longest step is the reach of the bound over this."""
SHORTEST = 1e-9
"""A step of less than this share of the reach ends a walk."""
INSIDE = 1e-3
"""Walks along a level set aim this share of ε below it, so that rounding does not lead beyond."""
CORRECTIONS = 4
"""How often a step is corrected for what the kept loss does beyond first order."""
DOUBLINGS = 30
LEAST_SLOPE = 1e-4
"""A walk ends where of its direction less than this share leads along the level set within the bound."""
LEAST_GAIN = 1e-5
"""A step that gains less than this share of ε ends a walk."""


class Bound(Protocol):
    """How far from θ* weights may be, in a unit of its own for each of them."""

    @property
    def radius(self) -> float:
        """In units."""
        ...

    def unit(self, start: Tensor) -> Tensor:
        """(P,) what counts as distance 1 in each weight of θ* (P,)."""
        ...

    def nearest(self, moved: Tensor) -> Tensor:
        """The nearest allowed displacement to one (P,), both in units."""
        ...

    def reach(self, weights: int) -> float:
        """The length in units of the longest allowed displacement of so many weights."""
        ...


@dataclass(frozen=True)
class WithinNorm:
    """The distance ‖θ − θ*‖ is at most ``radius``·‖θ*‖.

    Attributes:
        radius: Positive.
    """

    radius: float

    def unit(self, start: Tensor) -> Tensor:
        """‖θ*‖ for each weight."""
        return torch.full_like(start, float(start.norm()))

    def nearest(self, moved: Tensor) -> Tensor:
        """The displacement, shortened where it is too long."""
        return moved * min(1.0, self.radius / max(float(moved.norm()), 1e-300))

    def reach(self, weights: int) -> float:
        """The radius."""
        return self.radius


@dataclass(frozen=True)
class WithinEachWeight:
    """No weight changes by more than ``radius`` times its own size; weights of zero stay.

    Rescaling the weights without changing the network, as is possible with ReLU, then changes nothing, and weights that
    a solution does not use have no say. In a linear model, where curvature is the same everywhere, only such a bound
    tells solutions apart. The metric is that of J. Kwon, J. Kim, H. Park, I. K. Choi, *ASAM: adaptive sharpness-aware
    minimization for scale-invariant learning of deep neural networks*, ICML 2021, arXiv:2102.11600.

    Attributes:
        radius: Positive; 1 lets a weight vanish or double.
    """

    radius: float

    def unit(self, start: Tensor) -> Tensor:
        """The size of each weight."""
        return start.abs()

    def nearest(self, moved: Tensor) -> Tensor:
        """The displacement, each entry clipped."""
        return moved.clamp(-self.radius, self.radius)

    def reach(self, weights: int) -> float:
        """The half diagonal of the cube."""
        return self.radius * float(np.sqrt(weights))


@dataclass(frozen=True, eq=False)
class LevelSetPath:
    """A chain of short straight steps from θ* on which one environment's loss stays within ε.

    Attributes:
        lengths: (T,) length of the path so far, as a fraction of ‖θ*‖; 0 first.
        losses: (T, E) of all environments.
        weights: (P,) at its end.
    """

    lengths: Array
    losses: Array
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Inconsistency:
    """What a search found: a lower bound of the inconsistency of θ* within a bound on the weights.

    Attributes:
        matrix: (E, E) the largest |L_e'(θ) − L_e(θ*)| found while e (the row) is kept within ε.
        pair: The row and column of the largest of two environments, (e, e').
        path: The way to where that was found.
        epsilon: ε, in units of the loss.
        bound: On the weights.
    """

    matrix: Array
    pair: tuple[int, int]
    path: LevelSetPath
    epsilon: float
    bound: Bound

    @property
    def value(self) -> float:
        """The inconsistency found, in units of the loss."""
        return float(self.matrix.max())


def level_set_search(
    losses: LossesAt,
    start: Tensor,
    *,
    epsilon: float,
    bound: Bound,
    rng: torch.Generator,
    restarts: int = 3,
    steps: int = 100,
) -> Inconsistency:
    """Search the level sets of each environment for weights that change another's loss the most.

    From θ* a walk climbs |L_e'(θ) − L_e(θ*)| in short steps. Of each step is taken away what would lead L_e beyond ε,
    to first order; the step is halved until L_e is within ε at its middle and its end. The first walk of a pair sets
    out along the gradient of L_e', the second the opposite way and through the valley, the others in random
    directions, all without their component along the gradient of L_e.
    Where L_e'(θ*) < L_e(θ*), there are as many walks downwards. What is found is reached by a connected path, so it is
    a lower bound of the maximum.

    Args:
        losses: Of E environments, 2 at least, in double precision and without randomness.
        start: θ* (P,).
        epsilon: How much an environment's loss may change, positive.
        bound: On the weights.
        rng: Draws the directions.
        restarts: Walks for each pair and direction, at least 1.
        steps: Of a walk, at most.

    Raises:
        UserError: There are fewer than two environments, the losses are not finite, or no weight may move.

    >>> first, second = torch.tensor([1.0, 4.0]).double(), torch.tensor([4.0, 1.0]).double()
    >>> found = level_set_search(
    ...     lambda w: torch.stack([first @ (w - 1) ** 2, second @ (w - 1) ** 2]),
    ...     torch.ones(2).double(),
    ...     epsilon=0.01,
    ...     bound=WithinNorm(10.0),
    ...     rng=torch.Generator().manual_seed(0),
    ... )
    >>> round(found.value / 0.01, 1)
    4.0
    """
    search = _Search.of(losses, start, epsilon, bound, steps)
    environments = len(search.at_start)
    paths = {pair: search.farthest(*pair, restarts, rng) for pair in itertools.permutations(range(environments), 2)}
    matrix = np.zeros((environments, environments))
    for (kept, target), path in paths.items():
        changes = np.abs(path.losses - float(search.at_start[kept])).max(axis=0)
        matrix[kept, target] = changes[target]
        matrix[kept, kept] = max(matrix[kept, kept], changes[kept])
    pair = max(paths, key=lambda pair: matrix[pair])
    return Inconsistency(matrix, pair, paths[pair], epsilon, bound)


@dataclass(frozen=True, eq=False)
class _Search:
    """What all walks share; displacements (P,) are in the units of the bound.

    Attributes:
        losses: Of displaced weights.
        start: θ* (P,).
        unit: (P,).
        at_start: (E,) losses at θ*.
        epsilon: ε.
        bound: On displacements.
        steps: Of a walk.
    """

    losses: LossesAt
    start: Tensor
    unit: Tensor
    at_start: Tensor
    epsilon: float
    bound: Bound
    steps: int

    @staticmethod
    def of(losses: LossesAt, start: Tensor, epsilon: float, bound: Bound, steps: int) -> _Search:
        unit = bound.unit(start)
        if not float(unit.norm()) > 0:
            raise UserError("all weights are zero, so that a bound relative to them allows no change: train first")
        at_start = losses(start).detach()
        if len(at_start) < 2:
            raise UserError("consistency compares environments, and there is one only: name an environment column")
        if not bool(at_start.isfinite().all()):
            raise UserError("the losses are not finite at these weights: take weights from before training diverged")
        return _Search(losses, start, unit, at_start, epsilon, bound, steps)

    @property
    def reach(self) -> float:
        return self.bound.reach(len(self.start))

    def at(self, moved: Tensor) -> Tensor:
        with torch.no_grad():
            return self.losses(self.start + self.unit * moved)

    def slopes(self, moved: Tensor, kept: int, target: int) -> tuple[Tensor, Tensor]:
        """Gradients (P,) of two environments' losses in the displacement."""
        moved = moved.detach().requires_grad_()
        losses = self.losses(self.start + self.unit * moved)
        (of_kept,) = torch.autograd.grad(losses[kept], moved, retain_graph=True)
        (of_target,) = torch.autograd.grad(losses[target], moved)
        return of_kept, of_target

    def farthest(self, kept: int, target: int, restarts: int, rng: torch.Generator) -> LevelSetPath:
        """The best of all walks of a pair: upwards, and downwards as well where L_e' is the lower at θ*."""
        signs = (1, -1) if self.at_start[target] < self.at_start[kept] else (1,)
        walks = (self._walk(kept, target, sign, k, rng) for sign in signs for k in range(restarts))
        found = max(((walk.gain, walk.path()) for walk in walks), key=lambda scored: scored[0])
        return found[1]

    def _walk(self, kept: int, target: int, sign: int, k: int, rng: torch.Generator) -> _Walk:
        walk = _Walk(self, kept, target, sign)
        of_kept, of_target = self.slopes(walk.moved, kept, target)
        ahead = _without(sign * of_target, of_kept)
        if k >= 2 or not float(ahead.norm()) > 0:
            noise = torch.randn(len(self.start), generator=rng, dtype=torch.float64).to(self.start)
            ahead = _without(noise, of_kept)
        walk.set_out(-ahead if k % 2 else ahead)
        for _ in range(self.steps):
            if not walk.climbs():
                break
        return walk


class _Walk:
    """A path of accepted points.

    Args:
        search: What it is part of.
        kept: The environment whose loss stays within ε.
        target: The one whose loss is to change.
        sign: 1 where it is to rise, −1 where it is to fall.
    """

    def __init__(self, search: _Search, kept: int, target: int, sign: int) -> None:
        self.search, self.kept, self.target, self.sign = search, kept, target, sign
        self.moved = torch.zeros_like(search.start)
        self.losses = [search.at_start]
        self.lengths = [0.0]
        self.step = search.reach / STEPS_ACROSS
        self.gain, self.best, self.points = self._change(self.target), self.moved, 1

    @property
    def _height(self) -> float:
        return self.sign * float(self.losses[-1][self.target])

    def path(self) -> LevelSetPath:
        """The part up to where L_e' is the farthest from L_e(θ*)."""
        losses = torch.stack(self.losses[: self.points]).numpy()
        lengths = np.array(self.lengths[: self.points]) / float(self.search.start.norm())
        return LevelSetPath(lengths, losses, self.search.start + self.search.unit * self.best)

    def set_out(self, ahead: Tensor) -> None:
        """Go straight along a direction (P,), and on as long as the target's loss falls: beyond may be another side."""
        if not float(ahead.norm()) > 0:
            return
        for _ in range(2 * STEPS_ACROSS):
            before = self._height
            of_kept, _ = self.search.slopes(self.moved, self.kept, self.target)
            if not self._step(ahead / ahead.norm(), of_kept, float("-inf")) or self._height > before:
                return

    def climbs(self) -> bool:
        """One more step that raises (or lowers) the target's loss; says whether another may be worth it."""
        of_kept, of_target = self.search.slopes(self.moved, self.kept, self.target)
        if not float(of_target.norm()) > 0:
            return False
        aim = self.moved + self.step * self.sign * of_target / of_target.norm()
        ahead = self._allowed(aim, of_kept, bent=0.0) - self.moved  # what level set and bound leave of it
        if float(ahead.norm()) < LEAST_SLOPE * self.step:
            return False
        before = self._height
        stepped = self._step(ahead / ahead.norm(), of_kept, before)
        return stepped and self._height - before > LEAST_GAIN * self.search.epsilon

    def _step(self, ahead: Tensor, of_kept: Tensor, above: float) -> bool:
        """Go along a unit direction (P,), as far as is allowed; says whether that is anywhere."""
        while self.step > SHORTEST * self.search.reach:
            if self._try(self.moved + self.step * ahead, of_kept, above):
                self.step = min(2 * self.step, self.search.reach / STEPS_ACROSS)
                return True
            self.step /= 2
        return False

    def _try(self, aim: Tensor, of_kept: Tensor, above: float) -> bool:
        """Go to the allowed point nearest to ``aim`` if the target's loss is higher there than ``above``."""
        search, bent = self.search, 0.0
        there, losses = self.moved, self.losses[-1]
        for _ in range(CORRECTIONS):
            there = self._allowed(aim, of_kept, bent)
            losses = search.at(there)
            if self._within(losses):
                break
            straight = float(of_kept @ (there - self.moved))
            bent = float(losses[self.kept] - self.losses[-1][self.kept]) - straight
        if float((there - self.moved).norm()) > 2 * self.step:  # a correction that leads far away
            return False
        higher = self.sign * float(losses[self.target]) > above
        if not higher or not self._within(losses) or not self._within(search.at((self.moved + there) / 2)):
            return False
        self._accept(there, losses)
        return True

    def _allowed(self, aim: Tensor, of_kept: Tensor, bent: float) -> Tensor:
        """The point nearest to ``aim`` within the bound at which L_e is within ε, to first order.

        By the conditions of Karush, Kuhn and Tucker it is the one within the bound that is nearest to ``aim`` less
        some multiple of L_e's gradient.

        Args:
            aim: (P,).
            of_kept: (P,) the gradient of L_e where the walk stands.
            bent: How much L_e was found to be above its tangent.
        """
        bound, inside = self.search.bound, (1 - INSIDE) * self.search.epsilon
        change = float(self.losses[-1][self.kept] - self.search.at_start[self.kept]) + bent

        def ahead(point: Tensor) -> float:
            return change + float(of_kept @ (point - self.moved))

        there = bound.nearest(aim)
        side = 1.0 if ahead(there) > 0 else -1.0
        if side * ahead(there) <= inside or not float(of_kept @ of_kept) > 0:
            return there
        first = (side * ahead(there) - inside) / float(of_kept @ of_kept)
        factor = _least(lambda factor: side * ahead(bound.nearest(aim - side * factor * of_kept)) <= inside, first)
        return bound.nearest(aim - side * factor * of_kept)

    def _within(self, losses: Tensor) -> bool:
        change = (losses[self.kept] - self.search.at_start[self.kept]).abs()
        return bool(change <= self.search.epsilon) and bool(losses.isfinite().all())

    def _accept(self, moved: Tensor, losses: Tensor) -> None:
        self.lengths.append(self.lengths[-1] + float((self.search.unit * (moved - self.moved)).norm()))
        self.moved = moved
        self.losses.append(losses)
        if self._change(self.target) > self.gain:
            self.gain, self.best, self.points = self._change(self.target), moved, len(self.losses)

    def _change(self, environment: int) -> float:
        """How far an environment's loss is from L_e(θ*) now."""
        return abs(float(self.losses[-1][environment] - self.search.at_start[self.kept]))


def _least(holds: Callable[[float], bool], high: float) -> float:
    """The least factor from which on something holds, nearly; ``high`` is a first guess, doubled where need be."""
    low = 0.0
    for _ in range(DOUBLINGS):
        if holds(high):
            break
        low, high = high, 2 * high
    while high - low > INSIDE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _without(direction: Tensor, other: Tensor) -> Tensor:
    """A direction (P,) without its component along another."""
    squared = other @ other
    return direction - (direction @ other) / squared * other if float(squared) > 0 else direction
