"""What a reference says of rows, and what its last layer reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.predictors import forward
from holdfast.core.taps import REPRESENTATION
from holdfast.representations.class_clusters import class_clusters
from holdfast.representations.features import frozen_features


def outputs_of(reference: nn.Module, rows: Dataset) -> Tensor:
    """(N, C) logits, on the CPU."""
    device = next((tensor.device for tensor in reference.state_dict().values()), torch.device("cpu"))
    return forward(reference, rows, device)


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
