"""Slices through a loss landscape: along directions, in a plane, in the plane that training moved in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.weights.directions import dot
from holdfast.weights.functional import Evaluate
from holdfast.weights.tree import Direction, WeightTree, difference

Array = NDArray[np.float64]


def slice_along(evaluate: Evaluate, center: WeightTree, direction: Direction, positions: Sequence[float]) -> Array:
    """(T,) numbers at center + position·direction."""
    return np.array([evaluate(center.moved(direction, position)) for position in positions])


def slice_of_plane(
    evaluate: Evaluate,
    center: WeightTree,
    directions: tuple[Direction, Direction],
    across: Sequence[float],
    up: Sequence[float],
) -> Array:
    """(len(up), len(across)) numbers at center + across·first direction + up·second direction."""
    first, second = directions
    return np.stack([slice_along(evaluate, center.moved(second, position), first, across) for position in up])


@dataclass(frozen=True, eq=False)
class TrajectoryPlane:
    """The plane in which most of a path through weight space lies.

    Attributes:
        directions: Two orthonormal ones.
        coordinates: (T, 2) of the T weights, from the last as origin.
        explained: The share of the squared distance from the last that lies in each direction, (2,).
    """

    directions: tuple[Direction, Direction]
    coordinates: Array
    explained: Array


def trajectory_plane(trees: Sequence[WeightTree]) -> TrajectoryPlane:
    """Principal components of the weights along training about the last ones.

    H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, *Visualizing the loss landscape of neural nets*, NeurIPS 2018,
    arXiv:1712.09913.

    Args:
        trees: T weights of one architecture, 3 at least, in the order of training.

    Raises:
        UserError: They are of different architectures.
        ValueError: They are fewer than 3, or do not span a plane.
    """
    if len(trees) < 3:
        raise ValueError(f"{len(trees)} weights span no plane: give 3 at least")
    steps = [difference(tree, trees[-1]) for tree in trees[:-1]]
    gram = np.array([[float(dot(one, other)) for other in steps] for one in steps])
    values, vectors = np.linalg.eigh(gram)
    if values[-2] <= 1e-12 * values[-1]:
        raise ValueError("the weights lie on one line: there is no plane")
    directions = tuple(_mixed(steps, vectors[:, k] / np.sqrt(values[k])) for k in (-1, -2))
    inside = vectors[:, [-1, -2]] * np.sqrt(values[[-1, -2]])
    return TrajectoryPlane(
        (directions[0], directions[1]),
        np.concatenate([inside, np.zeros((1, 2))]),
        values[[-1, -2]] / values.sum(),
    )


def _mixed(steps: Sequence[Direction], factors: Array) -> Direction:
    mixed = {name: torch.zeros_like(part) for name, part in steps[0].items()}
    for factor, step in zip(factors.tolist(), steps, strict=True):
        for name, part in step.items():
            mixed[name] += factor * part
    return mixed
