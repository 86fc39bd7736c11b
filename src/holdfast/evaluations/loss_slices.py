"""What the loss does around a network, in random directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from holdfast.core.artifacts import Artifact, Curve, Matrix
from holdfast.core.evaluation import Evaluation, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.weight_space import Surroundings, measured, torch_stream
from holdfast.weights import random_direction, slice_along, slice_of_plane


@register
@dataclass(frozen=True, kw_only=True)
class LossSlices(Evaluation):
    """Slices of the training loss through a network: along random directions, and through a plane of two.

    Each filter of a direction is as long as the network's own, so that a network that is rescaled without a change of
    its function looks the same; biases and norm layers stay. H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein,
    *Visualizing the loss landscape of neural nets*, NeurIPS 2018, arXiv:1712.09913. Running statistics of batch
    normalisation stay as they are.

    The number is the mean rise of the loss at half a filter's length, over all directions and both ways.

    Attributes:
        directions: How many, besides the two of the plane.
        normalization: Of the directions' lengths: by ``filter``, ``layer``, or ``none``.
        reach: How far the slices go either way, in lengths of the network's own filters.
        points: Of a slice along a direction.
        grid: Points of a side of the plane.
        max_rows: So many training rows are used at most.
    """

    directions: Annotated[int, Range(low=1)] = 5
    normalization: Literal["filter", "layer", "none"] = "filter"
    reach: Annotated[float, Range(low=0.0)] = 1.0
    points: Annotated[int, Range(low=3)] = 21
    grid: Annotated[int, Range(low=2)] = 13
    max_rows: Annotated[int, Range(low=1)] = 1_000

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        around = Surroundings.of(predictor, task, self.max_rows, rng)
        if around is None:
            return Result()
        loss, noise = around.objective(around.train), torch_stream(rng)
        chosen = [
            random_direction(around.tree.parameters, noise, self.normalization) for _ in range(self.directions + 2)
        ]
        at = np.linspace(-self.reach, self.reach, self.points).tolist()
        along = [slice_along(loss, around.tree, direction, at) for direction in chosen[:-2]]
        side = np.linspace(-self.reach, self.reach, self.grid).tolist()
        plane = slice_of_plane(loss, around.tree, (chosen[-2], chosen[-1]), side, side)
        half = [slice_along(loss, around.tree, direction, [-0.5, 0.5]).mean() for direction in chosen]
        rise = float(np.mean(half)) - loss(around.tree)
        labels = tuple(f"{value:.2g}" for value in side)
        shown: tuple[Artifact, ...] = (
            Curve(
                "loss along random directions",
                {f"direction {k + 1}": (tuple(at), tuple(values.tolist())) for k, values in enumerate(along)},
                "distance in filter lengths" if self.normalization == "filter" else "distance",
                "training loss",
            ),
            Matrix(
                "loss in a random plane",
                tuple(tuple(row) for row in plane.tolist()),
                labels,
                labels,
                x_label="first direction",
                y_label="second direction",
            ),
        )
        return Result((measured("rise of the loss at half a filter's length", rise, around.train, "train"),), shown)
