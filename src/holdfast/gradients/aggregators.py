"""Element-wise aggregators: from the gradients of E environments to one update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from holdfast.gradients.masks import Rescale, check_rescale, check_threshold, mask_, rescale_
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

    They are handed over: an aggregator may overwrite them, and return their memory.

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
    rescale: Rescale = "tensor"
    needs: ClassVar[frozenset[Stat]] = frozenset({Stat.SIGN})

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_rescale(self.rescale)

    def __call__(self, stats: Mapping[str, Stats], state: State) -> Aggregated:
        gradients = {name: s.sum for name, s in stats.items()}
        kept = mask_(gradients, stats, self.threshold)
        rescale_(gradients, kept, self.rescale)
        return Aggregated(gradients, {f"kept {name}": fraction for name, fraction in kept.items()})
