"""A smooth mask that also asks environments for gradients of similar size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.gradients.aggregators import Aggregated, State
from holdfast.gradients.masks import check_threshold, rescale_
from holdfast.gradients.statistics import Stat, Stats


@dataclass(frozen=True)
class SandMask:
    """Weigh each component by max(0, tanh(sharpness · (|mean_e sign g_e| − threshold) / var_e(g_e))).

    The variance over environments is unbiased and of E · w_e g_e, which is g_e under equal weights 1/E; a single
    environment has variance 0, and a variance of 0 gives the limit: 1 above the threshold, 0 below and at it. The
    result is divided by the mean weight of each tensor. At a threshold of 1 every weight is 0 and nothing moves.

    Shahtalebi, Gagnon-Audet, Laleh, Faramarzi, Ahuja, Rish, *SAND-mask: an enhanced gradient masking strategy for the
    discovery of invariances in domain generalization*, 2021, arXiv:2106.02266.

    Args:
        threshold: In [0, 1).
        sharpness: Positive; large values give the hard mask.
    """

    threshold: float = 0.5
    sharpness: float = 10.0
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SIGN, Stat.SQUARE})

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.threshold == 1:
            raise ValueError("threshold=1.0 masks every component, so that nothing moves: use a value below 1")
        if not self.sharpness > 0:
            raise ValueError(f"sharpness={self.sharpness} must be positive")

    def __call__(self, stats: Mapping[str, Stats], state: State) -> Aggregated:
        gradients = {name: self._weights(s) for name, s in stats.items()}
        kept = {name: weights.mean() for name, weights in gradients.items()}
        for name, s in stats.items():
            gradients[name] *= s.sum
        rescale_(gradients, kept, "tensor")
        return Aggregated(gradients, {f"kept {name}": fraction for name, fraction in kept.items()})

    def _weights(self, stats: Stats) -> Tensor:
        assert stats.sign is not None
        excess = stats.sign.abs().to(stats.sum.dtype) / stats.environments - self.threshold
        variance = unbiased_variance(stats) * stats.environments**2
        tiny = torch.finfo(variance.dtype).tiny
        return torch.tanh(self.sharpness * excess / variance.clamp_min(tiny)).clamp_min_(0)


def unbiased_variance(stats: Stats) -> Tensor:
    """Variance over environments of each component, divided by E − 1; zero for a single environment."""
    assert stats.square is not None
    if stats.environments == 1:
        return torch.zeros_like(stats.sum)
    mean_square = stats.sum.square() / stats.environments
    return (stats.square - mean_square).clamp_min_(0) / (stats.environments - 1)
