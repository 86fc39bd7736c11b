"""How sharply the loss bends around a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from holdfast.core.artifacts import Curve, Matrix, Table
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.evaluations.weight_space import Surroundings, measured, torch_stream
from holdfast.weights import (
    GaussNewtonProduct,
    HessianProduct,
    Objective,
    SpectralDensity,
    WeightTree,
    diagonal_by_environment,
    flat,
    spectral_density,
    top_eigenvalues,
    trace,
)


@register
@dataclass(frozen=True, kw_only=True)
class Curvature(Evaluation):
    """Curvature of the training loss: eigenvalues, trace and density of the Hessian, and what environments share.

    The largest eigenvalues and the trace of the Gauss–Newton matrix stand beside those of the Hessian: it leaves out
    the network's own curvature. Both depend on the scale of the weights, which in many networks can change without a
    change of the function, so compare networks of one architecture and training only. For each two environments the
    cosine of the diagonals of their Gauss–Newton matrices says whether the loss is steep in the same weights.

    After Z. Yao, A. Gholami, K. Keutzer, M. Mahoney, *PyHessian: neural networks through the lens of the Hessian*,
    2019, arXiv:1912.07145. In double precision and evaluation mode.

    Attributes:
        top: How many of the largest eigenvalues.
        draws: Random vectors for a trace.
        probes: Random starts for the density.
        steps: Lanczos steps from each.
        max_rows: So many training rows are used at most.
    """

    top: Annotated[int, Range(low=1)] = 3
    draws: Annotated[int, Range(low=2)] = 30
    probes: Annotated[int, Range(low=1)] = 3
    steps: Annotated[int, Range(low=2)] = 30
    max_rows: Annotated[int, Range(low=1)] = 500

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        around = Surroundings.of(predictor, task, self.max_rows, rng)
        if around is None:
            return Result()
        signs = torch_stream(rng)
        try:
            return self._around(around, rng, signs)
        except RuntimeError as error:  # of torch, where an operation has no second derivative
            reason = str(error).partition("\n")[0][:150]
            raise UserError(f"curvature: torch cannot differentiate this network twice ({reason})") from None

    def _around(self, around: Surroundings, rng: np.random.Generator, signs: torch.Generator) -> Result:
        objective, tree = around.exact(around.train)
        found: list[Measurement] = []
        hessian = HessianProduct(objective, tree)
        for name, product in (("hessian", hessian), ("gauss-newton", GaussNewtonProduct(objective, tree))):
            values = top_eigenvalues(product, tree.parameters, self.top, rng)
            found += [measured(f"{name} eigenvalue {k + 1}", v, around.train, "train") for k, v in enumerate(values)]
            estimate = trace(product, tree.parameters, self.draws, signs)
            margin = 1.96 * estimate.standard_error
            found.append(
                Measurement(
                    f"{name} trace",
                    estimate.value,
                    "train",
                    len(around.train),
                    estimate.value - margin,
                    estimate.value + margin,
                    "normal",
                    unit="random vector",
                    higher_is_better=False,
                )
            )
        density = spectral_density(hessian, tree.parameters, signs, probes=self.probes, steps=self.steps)
        return Result(tuple(found), (_numbers(found), _density(density), *_shared(objective, tree)))


def _numbers(found: list[Measurement]) -> Table:
    rows = tuple((m.metric, m.value, "" if m.low is None else m.low, "" if m.high is None else m.high) for m in found)
    return Table("curvature of the training loss", ("number", "value", "low", "high"), rows)


def _density(density: SpectralDensity) -> Curve:
    low, high = float(density.nodes.min()), float(density.nodes.max())
    width = max((high - low) / 100, 1e-12)
    at = np.linspace(low - 3 * width, high + 3 * width, 300)
    values = np.log10(np.maximum(density.smoothed(at, width), 1e-8))
    return Curve(
        "density of the Hessian's eigenvalues",
        {"log10 of the density": (tuple(at.tolist()), tuple(values.tolist()))},
        "eigenvalue",
        "log10 of the density",
        caption="By Lanczos quadrature; most eigenvalues of a network are near zero.",
    )


def _shared(objective: Objective, tree: WeightTree) -> tuple[Matrix, ...]:
    diagonals = diagonal_by_environment(objective, tree)
    if len(diagonals) < 2:
        return ()
    vectors = torch.stack([flat(diagonal) for diagonal in diagonals.values()])
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
    cosines = (unit @ unit.T).tolist()
    return (
        Matrix(
            "steep in the same weights",
            tuple(tuple(row) for row in cosines),
            tuple(diagonals),
            tuple(diagonals),
            caption="Cosine of the diagonals of the environments' Gauss–Newton matrices.",
        ),
    )
