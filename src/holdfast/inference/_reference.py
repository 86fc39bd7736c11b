"""What a reference's last layer reads, and groups of rows by it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.taps import REPRESENTATION
from holdfast.representations.class_clusters import class_clusters
from holdfast.representations.features import frozen_features


def representation_of(reference: nn.Module, rows: Dataset) -> Tensor:
    """(N, F) what the last linear layer takes in, on the CPU."""
    return frozen_features(reference, rows, layer=REPRESENTATION)


def clustered(features: Tensor, rows: Dataset, seed: int, number: int | None, provenance: str) -> Column:
    """Clusters within each class as a column of groups."""
    y = rows.labels.numpy()
    place = torch.from_numpy(class_clusters(features.numpy(), y, seed % 2**31, number=number))
    clusters = Column(place, tuple(map(str, range(int(place.max()) + 1))))
    crossed = Column.product({"label": rows.column("label"), "cluster": clusters})
    return Column(crossed.codes, crossed.names, provenance=provenance)
