"""Clusters within classes: known ones are found, and their number with them."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.representations import class_clusters


def blobs(
    sizes: dict[int, tuple[int, ...]], width: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes, and the blob of each row, numbered within its class, in a random order."""
    rng = np.random.default_rng(seed)
    parts = [(y, k, n) for y, counts in sizes.items() for k, n in enumerate(counts)]
    y, blob = (np.concatenate([np.full(n, part[place]) for *part, n in parts]) for place in (0, 1))
    centers = rng.normal(scale=20, size=(len(parts), width))
    x = np.concatenate([center + rng.normal(size=(n, width)) for center, (_, _, n) in zip(centers, parts, strict=True)])
    order = rng.permutation(len(y))
    return x[order], y[order], blob[order]


@pytest.mark.parametrize("width", [3, 30])
@pytest.mark.parametrize("seed", range(3))
def test_the_number_of_each_class_is_found_and_the_largest_comes_first(width: int, seed: int) -> None:
    x, y, blob = blobs({0: (40, 25), 2: (50, 30, 12), 5: (30, 20, 14, 7)}, width, seed)
    assert np.array_equal(class_clusters(x, y, seed=0), blob)


def test_a_number_is_kept() -> None:
    x, y, _ = blobs({0: (40, 25), 1: (30,)})
    codes = class_clusters(x, y, seed=0, number=3)
    assert [set(codes[y == label]) for label in (0, 1)] == [{0, 1, 2}] * 2


def test_other_classes_do_not_matter() -> None:
    x, y, blob = blobs({0: (30, 20), 1: (25, 15)})
    alone = y == 1
    assert np.array_equal(class_clusters(x[alone], y[alone], seed=0), blob[alone])


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_or_equal_rows_are_one_cluster(rows: int) -> None:
    assert class_clusters(np.ones((rows, 2)), np.zeros(rows, dtype=np.int64), seed=0).tolist() == [0] * rows


def test_more_clusters_than_rows_of_a_class_are_refused() -> None:
    x, y, _ = blobs({0: (40,), 3: (4,)})
    with pytest.raises(UserError, match="5 clusters of class 3 are more groups than its 4 rows: ask for fewer"):
        class_clusters(x, y, seed=0, number=5)
