"""The straight line between two networks in weight space, and the barrier on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from holdfast.weights.functional import Evaluate
from holdfast.weights.tree import WeightTree, interpolated


@dataclass(frozen=True)
class Profile:
    """What some number, such as a loss, does along a path from 0 to 1.

    Attributes:
        positions: (T,) ascending from 0 to 1.
        values: (T,) the numbers there.
    """

    positions: tuple[float, ...]
    values: tuple[float, ...]

    @staticmethod
    def along(at: Callable[[float], WeightTree], evaluate: Evaluate, points: int) -> Profile:
        """A number at evenly spaced positions of a path.

        Args:
            at: The weights at a position.
            evaluate: From weights to the number.
            points: T, at least 2.
        """
        positions = tuple(k / (points - 1) for k in range(points))
        return Profile(positions, tuple(evaluate(at(t)) for t in positions))

    @property
    def barrier(self) -> float:
        """The largest height above the chord between the ends; never negative.

        R. Entezari, H. Sedghi, O. Saukh, B. Neyshabur, *The role of permutation invariance in linear mode connectivity
        of neural networks*, ICLR 2022, arXiv:2110.06296.

        >>> Profile((0.0, 0.5, 1.0), (0.0, 2.0, 1.0)).barrier
        1.5
        """
        at, values = np.array(self.positions), np.array(self.values)
        return float((values - (1 - at) * values[0] - at * values[-1]).max())

    @property
    def barrier_over_mean(self) -> float:
        """The maximum above the mean of the ends; differs from :attr:`barrier` where the ends do.

        J. Frankle, G. K. Dziugaite, D. Roy, M. Carbin, *Linear mode connectivity and the lottery ticket hypothesis*,
        ICML 2020, arXiv:1912.05671.
        """
        return max(self.values) - (self.values[0] + self.values[-1]) / 2

    @property
    def highest(self) -> float:
        """The maximum."""
        return max(self.values)


def line_profile(
    start: WeightTree,
    end: WeightTree,
    evaluate: Evaluate,
    *,
    points: int = 25,
    mend: Callable[[WeightTree], WeightTree] = lambda tree: tree,
) -> Profile:
    """A number at evenly spaced points of the line from one network to another.

    Args:
        start: Weights at position 0.
        end: Weights at position 1.
        evaluate: From weights to the number.
        points: T, at least 2.
        mend: What is done to the weights at each point first, such as
            :func:`~holdfast.weights.recalibration.recalibrate` with the architecture and its inputs.

    Raises:
        UserError: The weights are of different architectures.

    >>> import torch
    >>> zero, one = (WeightTree({"w": torch.tensor([v])}, {}, {}) for v in (0.0, 1.0))
    >>> line_profile(zero, one, lambda tree: float(4 * tree.parameters["w"] * (1 - tree.parameters["w"])), points=3)
    Profile(positions=(0.0, 0.5, 1.0), values=(0.0, 1.0, 0.0))
    """
    return Profile.along(lambda t: mend(interpolated(start, end, t)), evaluate, points)
