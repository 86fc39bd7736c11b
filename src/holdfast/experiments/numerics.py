"""What may change the last bits of a number: threads, device, precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from holdfast.training.trainer import Precision


@dataclass(frozen=True)
class Numerics:
    """What may change the last bits of a number.

    Attributes:
        threads: Of torch and of the linear-algebra libraries.
        device: As Lightning Fabric names accelerators.
        precision: Of the forward pass.
    """

    threads: int = 1
    device: str = "cpu"
    precision: Precision = "32-true"


@contextlib.contextmanager
def limited(numerics: Numerics) -> Iterator[None]:
    """Run a block with this many threads in torch and in the linear-algebra libraries."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(numerics.threads)
    try:
        with threadpool_limits(numerics.threads):
            yield
    finally:
        torch.set_num_threads(before)
