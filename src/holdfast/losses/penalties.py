"""Penalties added to the risk; they receive the whole context of a step and are never masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from holdfast.losses.environments import environment_means

if TYPE_CHECKING:
    from holdfast.training.context import StepContext


class Penalty(Protocol):
    """A scalar to be added to the risk."""

    def __call__(self, context: StepContext) -> Tensor: ...


class VarianceOfRisks:
    """V-REx: the (biased) variance of the environments' mean losses.

    Krueger et al., *Out-of-distribution generalization via risk extrapolation*, ICML 2021, arXiv:2003.00688.
    """

    def __call__(self, context: StepContext) -> Tensor:
        return context.environment_losses.values.var(correction=0)


class InvariantRisk:
    """IRMv1: how much each environment would like to rescale the outputs, squared, without bias.

    The gradient of a row's loss in a dummy scale s of its outputs f, at s = 1, is ⟨∂loss/∂f, f⟩. The penalty of an
    environment is the product of the means of these over two halves of its rows, an unbiased estimate of the squared
    gradient that may be negative; an environment with a single row in the batch counts zero.

    Arjovsky, Bottou, Gulrajani, Lopez-Paz, *Invariant risk minimization*, 2019, arXiv:1907.02893.
    """

    def __call__(self, context: StepContext) -> Tensor:
        environment = context.batch.environment
        (gradient,) = torch.autograd.grad(context.losses.sum(), context.outputs, create_graph=True)
        slopes = (gradient * context.outputs).flatten(1).sum(dim=1)
        halves = environment_means(slopes, 2 * environment + _alternate(environment), context.batch.weight)
        first, second = halves.codes % 2 == 0, halves.codes % 2 == 1
        has_both = torch.isin(halves.codes[first] + 1, halves.codes[second])
        return (halves.values[first][has_both] * halves.values[second]).sum() / first.sum()


class SquaredOutputs:
    """Spectral decoupling: the mean square of the outputs, which keeps one feature from starving the others.

    Pezeshki, Kaba, Bengio, Courville, Precup, Lajoie, *Gradient starvation: a learning proclivity in neural networks*,
    NeurIPS 2021, arXiv:2011.09468, with the mean over outputs in place of half their sum.
    """

    def __call__(self, context: StepContext) -> Tensor:
        return context.batch.mean(context.outputs.square().flatten(1).mean(dim=1))


def _alternate(environment: Tensor) -> Tensor:
    """(B,) 0, 1, 0, 1, … along the rows of each environment."""
    order = torch.argsort(environment, stable=True)
    ordered = environment[order]
    starts = torch.searchsorted(ordered, ordered)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - starts
    return rank % 2
