"""Independent random streams from one seed, by name.

Every consumer of randomness asks for a stream by name, so adding one never shifts another, and seeds 0 and 1 have
nothing in common.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np


def seed_for(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream ``names`` of a run with this seed.

    >>> seed_for(0, "batches") == seed_for(0, "batches"), seed_for(0, "batches") == seed_for(1, "batches")
    (True, False)
    """
    key = "\x1f".join(map(str, (seed, *names))).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def torch_rng(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for the stream ``names``."""
    return torch.Generator().manual_seed(seed_for(seed, *names))


def numpy_rng(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream ``names``."""
    import numpy as np

    return np.random.default_rng(seed_for(seed, *names))
