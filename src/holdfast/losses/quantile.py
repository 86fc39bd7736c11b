"""A quantile of the environments' risks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from holdfast.training.context import StepContext


class QuantileAboveMean:
    """EQRM: how far a quantile of the environments' risks lies above their mean.

    Added with weight 1 to the mean over environments it makes that the quantile of a density estimated from the E
    risks in the batch: the risk that an environment drawn from their distribution stays below with probability
    ``level``.

    Eastwood et al., *Probable domain generalization via quantile risk minimization*, NeurIPS 2022, arXiv:2207.09944.

    Args:
        level: In (0, 1).
    """

    def __init__(self, level: float) -> None:
        self.level = level

    def __call__(self, context: StepContext) -> Tensor:
        risks = context.environment_losses.values
        return kernel_quantile(risks, self.level) - risks.mean()


def kernel_quantile(values: Tensor, level: float) -> Tensor:
    """The quantile of a Gaussian kernel density with Silverman's bandwidth; of one value, or of equal ones, that value.

    The derivative is the exact one of the implicit function.

    Args:
        values: (E,).
        level: In (0, 1).

    >>> round(kernel_quantile(torch.tensor([1.0, 3.0]), 0.5).item(), 4)
    2.0
    """
    spread = values.detach().std(correction=1) if len(values) > 1 else values.new_zeros(())
    if not spread > 1e-7 * values.detach().abs().max():
        return values.mean()
    bandwidth = values.std(correction=1) * (0.75 * len(values)) ** -0.2
    with torch.no_grad():
        root = _bisected(values.double(), bandwidth.double(), level).to(values)
        density = torch.exp(-(((root - values) / bandwidth).square()) / 2).mean() / (bandwidth * math.sqrt(2 * math.pi))
    newton: Tensor = root - (_cumulative(root, values, bandwidth) - level) / density
    return newton


def _cumulative(at: Tensor, values: Tensor, bandwidth: Tensor) -> Tensor:
    below: Tensor = torch.special.ndtr((at - values) / bandwidth)
    return below.mean()


def _bisected(values: Tensor, bandwidth: Tensor, level: float) -> Tensor:
    reach = bandwidth * abs(math.sqrt(2) * torch.erfinv(torch.tensor(2 * level - 1, dtype=torch.float64)))
    low, high = values.min() - reach, values.max() + reach
    for _ in range(60):
        middle = (low + high) / 2
        below = _cumulative(middle, values, bandwidth) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
