"""Clusters of rows within their classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UserError

COMPONENTS = 10
"""Leading principal components that are clustered."""
SILHOUETTE_ROWS = 1000
"""Rows at most that the number of clusters is chosen on."""


def class_clusters(
    features: NDArray[Any], y: NDArray[np.int64], seed: int, *, number: int | None = None, most: int = 4
) -> NDArray[np.int64]:
    """The cluster of each row among the rows of its class, by k-means on their leading principal components.

    Clusters of a class are numbered from the largest down. N. Sohoni et al., *No subclass left behind: fine-grained
    robustness in coarse-grained classification problems*, NeurIPS 2020, arXiv:2011.12945, cluster features this way.

    Args:
        features: (N, F).
        y: (N,) classes.
        seed: Of k-means.
        number: Clusters of each class; None for the number, 2 at least, with the highest mean silhouette.
        most: Clusters of a class at most where the silhouette chooses; a class of fewer than three rows is one.

    Returns:
        (N,) codes: 0 for the largest cluster of each class.

    Raises:
        UserError: A class has fewer rows than clusters.

    >>> x = np.array([[0.0], [0.1], [0.2], [5.0], [5.1]])
    >>> class_clusters(x, np.zeros(5, dtype=np.int64), 0, number=2)
    array([0, 0, 0, 1, 1])
    """
    codes = np.zeros(len(y), dtype=np.int64)
    check_class_sizes(y, number or 1)
    for label in np.unique(y):
        own = y == label
        codes[own] = _largest_first(_clusters(_reduced(features[own], seed), seed, number, most))
    return codes


def check_class_sizes(y: NDArray[np.int64], number: int) -> None:
    """Refuse more clusters than the rows of a class.

    Raises:
        UserError: It names the class and how many rows it has.
    """
    labels, sizes = np.unique(y, return_counts=True)
    if len(sizes) and sizes.min() < number:
        label, size = labels[sizes.argmin()], sizes.min()
        raise UserError(f"{number} clusters of class {label} are more groups than its {size} rows: ask for fewer")


def _reduced(features: NDArray[Any], seed: int) -> NDArray[Any]:
    from sklearn.decomposition import PCA

    width = min(COMPONENTS, *features.shape)
    values = features.astype(np.float64)
    return values if width == features.shape[1] or width < 2 else PCA(width, random_state=seed).fit_transform(values)


def _clusters(features: NDArray[Any], seed: int, number: int | None, most: int) -> NDArray[np.int64]:
    if number is not None:
        return _k_means(features, number, seed)
    distinct = len(np.unique(features, axis=0))
    candidates = [_k_means(features, k, seed) for k in range(2, min(most, len(features) - 1, distinct) + 1)]
    if not candidates:
        return np.zeros(len(features), dtype=np.int64)
    return max(candidates, key=lambda codes: _silhouette(features, codes, seed))


def _k_means(features: NDArray[Any], number: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans

    return KMeans(number, n_init=3, random_state=seed).fit_predict(features).astype(np.int64)  # type: ignore[no-any-return]


def _silhouette(features: NDArray[Any], codes: NDArray[np.int64], seed: int) -> float:
    from sklearn.metrics import silhouette_score

    rows = np.random.default_rng(seed).permutation(len(codes))[:SILHOUETTE_ROWS]
    if not 1 < len(np.unique(codes[rows])) < len(rows):
        return -1.0
    return float(silhouette_score(features[rows], codes[rows]))


def _largest_first(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(-np.bincount(codes), kind="stable")
    return np.argsort(order)[codes]
