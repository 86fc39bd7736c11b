"""Aggregators that need inner products between environments: PCGrad and GradVac through the E × E Gramian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.gradients.aggregators import Aggregated, State
from holdfast.gradients.checks import check_losses, check_some, check_weights
from holdfast.losses.environments import environment_means


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
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + updates)
        count = len(gramian)
        coefficients = torch.eye(count, dtype=gramian.dtype, device=gramian.device)
        for i in range(count):
            for j in torch.randperm(count, generator=generator).tolist():
                product = coefficients[i] @ gramian[:, j]
                if i != j and product < 0:
                    coefficients[i, j] -= product / gramian[j, j]
        return coefficients.sum(0), {"updates": updates + 1}


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
        updates, count = int(state.get("updates", 0)), len(gramian)
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + updates)
        targets = state["targets"].clone() if "targets" in state else torch.zeros_like(gramian)
        coefficients = torch.eye(count, dtype=gramian.dtype, device=gramian.device)
        for i in range(count):
            for j in torch.randperm(count, generator=generator).tolist():
                if i != j:
                    cosine, gain = _vaccine(coefficients[i], gramian, j, targets[i, j])
                    coefficients[i, j] += gain
                    targets[i, j] += self.beta * (cosine - targets[i, j])
        return coefficients.sum(0), {"updates": updates + 1, "targets": targets}


class GramianEngine:
    """Combines the gradients of environments with coefficients that depend on their inner products.

    One backward pass per environment, and E × P numbers: the element-wise statistics of ``GradientEngine`` do not hold
    inner products.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = GramianEngine(model).backward(model(torch.eye(1)).squeeze(1), torch.tensor([0]), weighting=PCGrad())
    >>> model.weight.grad
    tensor([[1.]])
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def backward(
        self,
        losses: Tensor,
        groups: Tensor,
        *,
        weighting: Weighting,
        row_weights: Tensor | None = None,
        state: State | None = None,
    ) -> Aggregated:
        """Add Σ_e c_e ∇L_e / E to ``.grad``, with the weighting's coefficients c.

        Args:
            losses: (B,) per-example losses with a graph.
            groups: (B,) integer environment of each row.
            weighting: Such as :class:`PCGrad`.
            row_weights: (B,) weights of the rows in their environment's mean loss; equal by default.
            state: What the weighting returned at the last update.

        Raises:
            UserError: ``losses`` are reduced or not finite, ``groups`` do not match them, or a gradient is not finite.
        """
        check_losses(losses, groups)
        check_some(losses)
        check_weights(len(losses), 0, row_weights, None)
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        means = environment_means(losses, groups, row_weights).values
        jacobian = [
            torch.autograd.grad(mean, list(parameters.values()), retain_graph=True, materialize_grads=True)
            for mean in means
        ]
        stacked = [torch.stack(of_parameter).flatten(1) for of_parameter in zip(*jacobian, strict=True)]
        gramian = torch.stack([g @ g.t() for g in stacked]).sum(0)
        if not torch.isfinite(gramian).all():
            raise UserError("a gradient is not finite: lower the learning rate")
        coefficients, state = weighting(gramian, state or {})
        gradients: dict[str, Tensor] = {}
        for (name, parameter), g in zip(parameters.items(), stacked, strict=True):
            gradients[name] = (coefficients @ g / len(means)).view(parameter.shape)
            parameter.grad = gradients[name] if parameter.grad is None else parameter.grad + gradients[name]
        return Aggregated(gradients, _cosines(gramian), state)


def _vaccine(coefficients: Tensor, gramian: Tensor, j: int, target: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine of the combined gradient with gradient j, and how much of j it gains."""
    tiny = torch.finfo(gramian.dtype).tiny
    size = (coefficients @ gramian @ coefficients).clamp_min(tiny).sqrt()
    other = gramian[j, j].clamp_min(tiny).sqrt()
    cosine = (coefficients @ gramian[:, j] / (size * other)).clamp(-1, 1)
    if cosine >= target:
        return cosine, torch.zeros_like(cosine)
    root = (1 - target.square()).sqrt()
    return cosine, size * (target * (1 - cosine.square()).sqrt() - cosine * root) / (other * root)


def _cosines(gramian: Tensor) -> Mapping[str, Any]:
    """The mean cosine between two environments, where there are two."""
    if len(gramian) < 2:
        return {}
    sizes = gramian.diagonal().clamp_min(torch.finfo(gramian.dtype).tiny).sqrt()
    cosines = gramian / torch.outer(sizes, sizes)
    return {"mean cosine": (cosines.sum() - cosines.diagonal().sum()) / (len(gramian) * (len(gramian) - 1))}
