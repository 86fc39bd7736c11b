"""Weightings of torchjd in a Gramian engine."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from holdfast.core.errors import MissingExtra, UserError, unknown_name
from holdfast.gradients.aggregators import State
from holdfast.gradients.gramian import Weighting

_SUFFIX = "Weighting"


def torchjd_weighting(name: str, **options: Any) -> Weighting:
    """A weighting of torchjd that reads the Gramian, such as ``UPGrad``, ``MGDA``, ``AlignedMTL``, ``IMTLG``.

    The update is torchjd's own, Σ_e w_e ∇L_e. What a stateful weighting remembers stays in the object returned, and in
    no checkpoint.

    Quinton, Rey, *Jacobian descent for multi-objective optimization*, 2024, arXiv:2406.16232, and the papers that
    torchjd names for each.

    Args:
        name: Of the aggregator, as torchjd spells it.
        options: Of its weighting.

    Raises:
        UserError: torchjd or what it needs for this weighting is not installed, or there is no such weighting.
    """
    try:
        aggregation = importlib.import_module("torchjd.aggregation")
    except ImportError:
        raise MissingExtra("torchjd", "aggregate") from None
    known = [
        n.removesuffix(_SUFFIX) for n, cls in vars(aggregation).items() if n.endswith(_SUFFIX) and _reads_gramian(cls)
    ]
    if name not in known:
        raise unknown_name("weighting of torchjd", name, known)
    try:
        return _Adapted(getattr(aggregation, name + _SUFFIX)(**options))
    except (ImportError, TypeError) as error:
        raise UserError(f"torchjd's {name}: {str(error).partition(chr(10))[0]}") from None


@dataclass(frozen=True)
class _Adapted:
    weights: Any

    def __call__(self, gramian: Tensor, state: State) -> tuple[Tensor, State]:
        """The engine divides by E what torchjd does not."""
        return len(gramian) * self.weights(gramian).to(gramian), state


def _reads_gramian(cls: type) -> bool:
    return any(base.__name__ == "_GramianWeighting" for base in cls.__mro__[1:])
