"""The element-wise geometric mean of gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from holdfast.gradients.aggregators import Aggregated, State
from holdfast.gradients.masks import Rescale, check_rescale, check_threshold, mask_, rescale_
from holdfast.gradients.statistics import Stat, Stats


@dataclass(frozen=True)
class GeometricMean:
    """The geometric mean of gradient sizes over environments, with the sign of the sum, where environments agree.

    For quadratic losses with aligned axes this is the gradient of the landscape whose Hessian is the geometric mean
    of the environments' Hessians: progress is slow where they disagree on the curvature. A gradient of exactly zero
    counts as ``epsilon``. It is scaled like the sum of the gradients under equal weights 1/E: E weighted gradients
    g_e / E have the geometric mean (Π|g_e|)^(1/E) / E, and E times that is returned.

    Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations that are hard to vary*, ICLR 2021,
    arXiv:2009.00329.

    Args:
        threshold: As for :class:`AndMask`. At 0 nothing is masked, but sizes are still multiplied.
        rescale: As for :class:`AndMask`.
        epsilon: The size of a zero gradient; positive.

    >>> import torch
    >>> stats = Stats.of(torch.tensor([1.0, 2.0]), GeometricMean.needs) + Stats.of(
    ...     torch.tensor([4.0, -2.0]), GeometricMean.needs
    ... )
    >>> GeometricMean(rescale="none")({"w": stats}, {}).gradients["w"]
    tensor([4., 0.])
    """

    threshold: float = 1.0
    rescale: Rescale = "tensor"
    epsilon: float = 1e-10
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SIGN, Stat.LOG})

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_rescale(self.rescale)
        if not self.epsilon > 0:
            raise ValueError(f"epsilon={self.epsilon} must be positive")

    def __call__(self, stats: Mapping[str, Stats], state: State) -> Aggregated:
        gradients = {name: self._mean(s) for name, s in stats.items()}
        kept = mask_(gradients, stats, self.threshold)
        rescale_(gradients, kept, self.rescale)
        return Aggregated(gradients, {f"kept {name}": fraction for name, fraction in kept.items()})

    def _mean(self, stats: Stats) -> Tensor:
        assert stats.log is not None
        assert stats.nonzero is not None
        zeros = (stats.environments - stats.nonzero).to(stats.log.dtype)
        log = (stats.log + zeros * math.log(self.epsilon / stats.environments)) / stats.environments
        return log.exp_().mul_(stats.environments).mul_(stats.sum.sign())
