"""What may change the last bits of a number: threads, device, precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from holdfast.core.errors import UserError
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


def device_of(name: str) -> str:
    """The device of this name on this machine; ``auto`` is the best there is, and hashed under its own name.

    Raises:
        UserError: It is not there.

    >>> device_of("cpu")
    'cpu'
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [device for device, found in there.items() if found]
    if name not in ("auto", *usable):
        raise UserError(f"--device {name}: this machine and this build of torch have {', '.join(usable)}")
    return usable[0] if name == "auto" else name


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
