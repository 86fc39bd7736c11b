"""Penalties that make what the head reads look alike in all environments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.core.taps import REPRESENTATION

if TYPE_CHECKING:
    from holdfast.core.data import Batch
    from holdfast.training.context import StepContext

BANDWIDTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
"""The γ of the Gaussian kernels exp(−γ d²) that :class:`KernelAlignment` adds up."""


class CovarianceAlignment:
    """CORAL: squared differences of means and covariances, the mean over their entries and over pairs of environments.

    Sun, Saenko, *Deep CORAL: correlation alignment for deep domain adaptation*, ECCV 2016, arXiv:1607.01719. With the
    means, which the paper leaves out, as in DomainBed (Gulrajani, Lopez-Paz, ICLR 2021, arXiv:2007.01434). The step
    must tap :data:`~holdfast.core.taps.REPRESENTATION`.
    """

    def __call__(self, context: StepContext) -> Tensor:
        moments = [_moments(*rows) for rows in _by_environment(context)]
        return _mean_over_pairs([_apart(one, other) for one, other in itertools.combinations(moments, 2)], context)


class KernelAlignment:
    """MMD: the squared maximum mean discrepancy under a sum of Gaussian kernels, the mean over pairs of environments.

    Li, Pan, Wang, Kot, *Domain generalization with adversarial feature learning*, CVPR 2018, in the form of DomainBed
    (arXiv:2007.01434): a biased estimate, which is never negative. The step must tap
    :data:`~holdfast.core.taps.REPRESENTATION`.
    """

    def __call__(self, context: StepContext) -> Tensor:
        rows = list(_by_environment(context))
        own = [_kernel_mean(one, one) for one in rows]
        pairs = itertools.combinations(range(len(rows)), 2)
        return _mean_over_pairs([own[i] + own[j] - 2 * _kernel_mean(rows[i], rows[j]) for i, j in pairs], context)


Rows = tuple[Tensor, Tensor]
"""(n, D) features and (n,) weights that sum to 1."""


def row_weights(batch: Batch) -> Tensor:
    """(B,) the weights of a batch's rows, ones where it has none."""
    return torch.ones(len(batch), device=batch.environment.device) if batch.weight is None else batch.weight


def _by_environment(context: StepContext) -> Iterator[Rows]:
    """The rows of each environment, without those that weigh nothing."""
    features, weights = context.features[REPRESENTATION], row_weights(context.batch).to(context.losses)
    for code in torch.unique(context.batch.environment[weights > 0]):
        rows = (context.batch.environment == code) & (weights > 0)
        yield features[rows], weights[rows] / weights[rows].sum()


def _moments(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) mean and (D, D) unbiased covariance; zero where there is a single row."""
    mean = weights @ features
    centred = features - mean
    freedom = 1 - weights.square().sum()
    covariance = (weights[:, None] * centred).t() @ centred
    return mean, covariance / freedom.clamp_min(torch.finfo(features.dtype).eps)


def _apart(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack([(a - b).square().mean() for a, b in zip(one, other, strict=True)]).sum()


def _kernel_mean(one: Rows, other: Rows) -> Tensor:
    """The mean kernel between two sets of rows; distances by a product of matrices, which is ten times faster."""
    squares = one[0].square().sum(1)[:, None] + other[0].square().sum(1)
    distances = (squares - 2 * one[0] @ other[0].t()).clamp_min(0)
    gammas = distances.new_tensor(BANDWIDTHS).view(-1, 1, 1)
    return one[1] @ torch.exp(-gammas * distances).sum(0) @ other[1]


def _mean_over_pairs(values: Sequence[Tensor], context: StepContext) -> Tensor:
    """Zero, with a graph, where there is a single environment."""
    return torch.stack(list(values)).mean() if values else 0 * context.losses.sum()
