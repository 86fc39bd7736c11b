"""Resampling whole units: how often each row is drawn, as a matrix of weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.core.errors import UserError

CHUNK = 2**18
"""Largest number of weights held at once (2 MiB: the cache is kept warm)."""


def unit_index(n_rows: int, units: ArrayLike | None) -> NDArray[np.intp]:
    """Index (N,) in 0..U-1 of the unit that each row belongs to.

    Args:
        n_rows: N.
        units: Any integer id per row (N,); −1 is unknown, and such a row is a unit of its own, as are all where None.

    >>> unit_index(5, [7, 7, -1, 3, -1]).tolist()
    [1, 1, 2, 0, 3]

    Raises:
        UserError: Not one integer per row.
    """
    if units is None:
        return np.arange(n_rows)
    ids: NDArray[Any] = np.asarray(units)
    if ids.shape != (n_rows,) or not (np.issubdtype(ids.dtype, np.integer) or not n_rows):
        raise UserError(f"units must be one integer per row: wanted shape ({n_rows},), got {ids.dtype} {ids.shape}")
    known = ids != -1
    names, known_index = np.unique(ids[known], return_inverse=True)
    index = np.empty(n_rows, dtype=np.intp)
    index[known] = known_index
    index[~known] = len(names) + np.arange((~known).sum())
    return index


def multiplicities(
    unit_of_row: NDArray[np.intp], replicates: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Draw U units of U with replacement, ``replicates`` times: how often each row came, in chunks (r, N).

    >>> chunks = multiplicities(np.array([0, 0, 1]), 4, np.random.default_rng(0))
    >>> np.concatenate(list(chunks)).tolist()
    [[0.0, 0.0, 2.0], [1.0, 1.0, 1.0], [2.0, 2.0, 0.0], [2.0, 2.0, 0.0]]
    """
    n_rows, n_units = len(unit_of_row), int(unit_of_row.max()) + 1
    size = max(1, CHUNK // n_rows)
    for start in range(0, replicates, size):
        r = min(size, replicates - start)
        drawn = rng.integers(n_units, size=(r, n_units)) + np.arange(r)[:, None] * n_units
        counts = np.bincount(drawn.ravel(), minlength=r * n_units).reshape(r, n_units).astype(np.float64)
        yield counts if n_units == n_rows else counts[:, unit_of_row]
