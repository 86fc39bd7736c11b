"""Statistics over ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed

from holdfast.gradients.statistics import Stats


def all_reduce(statistics: Mapping[str, Stats], group: Any = None) -> dict[str, Stats]:
    """The statistics of all ranks' environments together; afterwards every rank aggregates the same.

    Do not wrap the model in ``DistributedDataParallel``: that averages gradients before they can be compared. An
    environment's rows must lie on one rank, and ``environment_weights`` must be those of all ranks together, 1/E with
    E counted over all of them.

    Args:
        statistics: Of this rank's environments, from ``GradientEngine.statistics``.
        group: Process group; the default one.
    """
    return {name: _all_reduce(stats, group) for name, stats in statistics.items()}


def _all_reduce(stats: Stats, group: Any) -> Stats:
    environments = torch.tensor(stats.environments, device=stats.sum.device)
    distributed.all_reduce(environments, group=group)
    reduced = {}
    for name, tensor in stats.tensors().items():
        # Counts may be integers on one rank and whole floats on another.
        reduced[name] = tensor.to(stats.sum.dtype, copy=True)
        distributed.all_reduce(reduced[name], group=group)
    return Stats(environments=int(environments), **reduced)
