"""Aggregators that need inner products between environments: PCGrad and GradVac through the E × E Gramian."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast.core.errors import Diverged, UserError
from holdfast.gradients.aggregators import Aggregated, State
from holdfast.gradients.checks import check_some, check_weights
from holdfast.gradients.engine import GradientEngine, Groups
from holdfast.gradients.grouping import Grouping
from holdfast.gradients.inner_products import InnerProducts
from holdfast.gradients.request import Request

Array = NDArray[np.float64]
_TINY = float(np.finfo(np.float64).tiny)


class Weighting(Protocol):
    """From the Gramian of E gradients to the coefficients of the update."""

    def __call__(self, gramian: Tensor, state: State) -> tuple[Tensor, State]:
        """(E, E) inner products and the state, to (E,) coefficients and the new state."""
        ...


@dataclass(frozen=True)
class PCGrad:
    """From each gradient take away, one after the other, its components against other gradients; then sum.

    Where g_i·g_j < 0, g_i loses its projection on g_j; the others are met in a random order that ``seed`` and the
    number of updates determine.

    Yu, Kumar, Gupta, Levine, Hausman, Finn, *Gradient surgery for multi-task learning*, NeurIPS 2020,
    arXiv:2001.06782.

    >>> PCGrad()(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]), {})[0]
    tensor([2.0000, 1.5000])
    """

    seed: int = 0

    def __call__(self, gramian: Tensor, state: State) -> tuple[Tensor, State]:
        updates = int(state.get("updates", 0))
        products = _numbers(gramian)
        coefficients = np.eye(len(products))
        for i, j in _pairs(len(products), self.seed, updates):
            product = coefficients[i] @ products[:, j]
            if product < 0:
                coefficients[i, j] -= product / products[j, j]
        return _as(coefficients.sum(0), gramian), {"updates": updates + 1}


@dataclass(frozen=True)
class GradVac:
    """Turn each gradient towards the others until their cosines reach running targets; then sum.

    Where cos(g_i, g_j) = φ lies under the target φ̂ of the pair, g_i gains
    g_j · ‖g_i‖ (φ̂ √(1 − φ²) − φ √(1 − φ̂²)) / (‖g_j‖ √(1 − φ̂²)); then φ̂ ← (1 − beta) φ̂ + beta φ. Targets start at 0.
    They belong to environments by position, so that the same environments must take part in every update.

    Wang, Tsvetkov, Firat, Cao, *Gradient vaccine: investigating and improving multi-task optimization in massively
    multilingual models*, ICLR 2021, arXiv:2010.05874.

    >>> gradvac = GradVac()
    >>> gradvac(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]), {})[0]  # at targets of 0 this is PCGrad
    tensor([2.0000, 1.5000])
    """

    beta: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta} is out of range: it must lie in [0, 1)")

    def __call__(self, gramian: Tensor, state: State) -> tuple[Tensor, State]:
        if "targets" in state and state["targets"].shape != gramian.shape:
            raise UserError(f"GradVac had {len(state['targets'])} environments before and has {len(gramian)} now")
        updates, products = int(state.get("updates", 0)), _numbers(gramian)
        targets = _numbers(state["targets"]) if "targets" in state else np.zeros_like(products)
        coefficients = np.eye(len(products))
        for i, j in _pairs(len(products), self.seed, updates):
            cosine, gain = _vaccine(coefficients[i], products, j, targets[i, j])
            coefficients[i, j] += gain
            targets[i, j] += self.beta * (cosine - targets[i, j])
        return _as(coefficients.sum(0), gramian), {"updates": updates + 1, "targets": torch.from_numpy(targets)}


class GramianEngine:
    """Combines the gradients of environments with coefficients that depend on their inner products.

    One forward pass and two backward passes whatever the number of environments, as far as ``GradientEngine`` has
    rules: the first for the inner products, where E times the largest layer is held, the second for the combination.

    Args:
        model: Any module; make the engine before the forward pass.
        chunk_bytes: As for ``GradientEngine``.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> engine = GramianEngine(model)
    >>> _ = engine.backward(model(torch.eye(1)).squeeze(1), torch.tensor([0]), weighting=PCGrad())
    >>> model.weight.grad
    tensor([[1.]])
    """

    def __init__(self, model: nn.Module, *, chunk_bytes: int = 2**23) -> None:
        self.model = model
        self._engine = GradientEngine(model, chunk_bytes=chunk_bytes)

    def backward(
        self,
        losses: Tensor,
        groups: Groups,
        *,
        weighting: Weighting,
        row_weights: Tensor | None = None,
        state: State | None = None,
    ) -> Aggregated:
        """Add Σ_e c_e ∇L_e / E to ``.grad``, with the weighting's coefficients c.

        Args:
            losses: (B,) per-example losses with a graph.
            groups: (B,) integer environment of each row, or ``"per-example"``.
            weighting: Such as :class:`PCGrad`.
            row_weights: (B,) weights of the rows in their environment's mean loss; equal by default.
            state: What the weighting returned at the last update.

        Raises:
            UserError: ``losses`` are reduced, or ``groups`` do not match them.
            Diverged: A loss or a gradient is not finite.
        """
        grouping = self._engine.grouping(losses, groups)
        check_some(losses)
        check_weights(len(losses), 0, row_weights, None)
        gramian = self._gramian(losses, grouping, row_weights)
        coefficients, state = weighting(gramian, state or {})
        rows = grouping.coefficients(row_weights, coefficients / len(gramian), losses.detach())
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        found = torch.autograd.grad((losses * rows).sum(), list(named.values()), materialize_grads=True)
        for parameter, gradient in zip(named.values(), found, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return Aggregated(dict(zip(named, found, strict=True)), _cosines(gramian), state)

    def explain(self) -> str:
        """How the gradient of each parameter was made at the last step, one line each."""
        return self._engine.explain()

    def close(self) -> None:
        """Remove the hooks and free the buffers; the model is as it was."""
        self._engine.close()

    def _gramian(self, losses: Tensor, grouping: Grouping, row_weights: Tensor | None) -> Tensor:
        """(E, E) inner products of ∇L_e, environments in ascending order of their codes."""
        count = len(grouping.sizes)
        ones = torch.ones(count, device=losses.device)
        coefficients = grouping.coefficients(row_weights, ones, losses.detach())
        make = partial(InnerProducts, environments=count)
        statistics = self._engine.collect(Request(losses, coefficients, grouping, frozenset(), 1.0, True, make))
        products = [stats.gramian for stats in statistics.values() if stats.gramian is not None]
        total = sum(products, ones.new_zeros(count, count))
        if not torch.isfinite(total).all():
            raise Diverged("a gradient is not finite: lower the learning rate")
        places = torch.argsort(torch.tensor(grouping.largest_first(), device=losses.device))
        return total[places][:, places]


def _pairs(count: int, seed: int, updates: int) -> Iterator[tuple[int, int]]:
    """Every environment with every other one, these in a random order."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + updates)
    for i in range(count):
        yield from ((i, j) for j in torch.randperm(count, generator=generator).tolist() if j != i)


def _numbers(gramian: Tensor) -> Array:
    """In float64 and in NumPy, whose small numbers cost a tenth of torch's."""
    return gramian.detach().double().cpu().numpy().copy()


def _as(coefficients: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(coefficients).to(like)


def _vaccine(coefficients: Array, products: Array, j: int, target: float) -> tuple[float, float]:
    """The cosine of the combined gradient with gradient j, and how much of j it gains."""
    size = math.sqrt(max(float(coefficients @ products @ coefficients), _TINY))
    other = math.sqrt(max(float(products[j, j]), _TINY))
    cosine = min(1.0, max(-1.0, float(coefficients @ products[:, j]) / (size * other)))
    if cosine >= target:
        return cosine, 0.0
    root = math.sqrt(1 - target**2)
    return cosine, size * (target * math.sqrt(1 - cosine**2) - cosine * root) / (other * root)


def _cosines(gramian: Tensor) -> Mapping[str, Any]:
    """The mean cosine between two environments, where there are two."""
    if len(gramian) < 2:
        return {}
    sizes = gramian.diagonal().clamp_min(torch.finfo(gramian.dtype).tiny).sqrt()
    cosines = gramian / torch.outer(sizes, sizes)
    return {"mean cosine": (cosines.sum() - cosines.diagonal().sum()) / (len(gramian) * (len(gramian) - 1))}
