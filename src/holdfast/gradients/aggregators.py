"""Element-wise aggregators: from the gradients of E environments to one update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from holdfast.gradients.statistics import Stat, Stats

State = Mapping[str, Any]


@dataclass(frozen=True)
class Aggregated:
    """What an aggregator returns.

    Attributes:
        gradients: One tensor per parameter name.
        diagnostics: Scalars by name, such as the fraction of components kept.
        state: To be passed in at the next update, and kept in checkpoints.
    """

    gradients: Mapping[str, Tensor]
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    state: State = field(default_factory=dict)


class Aggregator(Protocol):
    """Combines gradients; it sees the statistics of all parameters at once.

    Attributes:
        needs: The statistics it reads besides the sum.
    """

    @property
    def needs(self) -> frozenset[Stat]: ...

    def __call__(self, stats: Mapping[str, Stats], state: State) -> Aggregated: ...


@dataclass(frozen=True)
class Mean:
    """The plain sum of the weighted gradients, which is their mean under equal weights 1/E."""

    needs: ClassVar[frozenset[Stat]] = frozenset()

    def __call__(self, stats: Mapping[str, Stats], state: State) -> Aggregated:
        return Aggregated({name: s.sum for name, s in stats.items()})


@dataclass(frozen=True)
class AndMask:
    """Keep a gradient component only where environments agree on its sign.

    A component is kept where |Σ_e sign(g_e)| ≥ threshold · E, compared as whole numbers; a zero gradient counts as
    disagreement. ``rescale`` divides by the kept fraction: of each tensor, of all parameters together, or not at all.

    Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations that are hard to vary*, ICLR 2021,
    arXiv:2009.00329.

    Args:
        threshold: In [0, 1]; 0 keeps everything, 1 asks for all environments.
        rescale: Scope of the kept fraction by which the result is divided.
    """

    threshold: float = 1.0
    rescale: Literal["tensor", "global", "none"] = "tensor"
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SIGN})

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold} is out of range: it must lie in [0, 1]")

    def __call__(self, stats: Mapping[str, Stats], state: State) -> Aggregated:
        masks = {name: self._mask(s) for name, s in stats.items()}
        kept = {name: mask.float().mean() for name, mask in masks.items()}
        scales = self._scales(masks, kept)
        gradients = {name: torch.where(masks[name], s.sum / scales[name], 0.0) for name, s in stats.items()}
        return Aggregated(gradients, {f"kept {name}": fraction for name, fraction in kept.items()})

    def _mask(self, stats: Stats) -> Tensor:
        assert stats.sign is not None, "the engine leaves out nothing that is in `needs`"
        return stats.sign.abs() >= math.ceil(self.threshold * stats.environments - 1e-9)

    def _scales(self, masks: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
        if self.rescale == "none":
            return dict.fromkeys(masks, 1.0)
        if self.rescale == "tensor":
            return {name: 1e-10 + fraction for name, fraction in kept.items()}
        total = sum(mask.numel() for mask in masks.values())
        return dict.fromkeys(masks, 1e-10 + torch.stack([mask.sum() for mask in masks.values()]).sum() / total)
