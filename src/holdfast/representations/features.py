"""Features of a frozen network, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.files import Unreadable, read_tree, write_tree
from holdfast.core.predictors import forward
from holdfast.core.taps import tapped


def frozen_features(
    module: nn.Module, dataset: Dataset, *, layer: str, cache: Path | None = None, batch_size: int = 1024
) -> Tensor:
    """What a layer of a network puts out for every row, in evaluation mode and without gradients.

    With a folder, features are read from there where the same network (its description and all its weights), layer and
    rows have been asked for before; a damaged file is replaced with a warning.

    Args:
        module: The network; it runs where its weights are.
        dataset: N rows.
        layer: Name of the layer, as in ``module.named_modules()``.
        cache: Folder of the files, or None to keep nothing.
        batch_size: Rows per pass.

    Returns:
        (N, F) on the CPU, everything but the rows flattened.

    Raises:
        UserError: There is no such layer, or it does not give one tensor with a line for each row.

    >>> from holdfast.core.data import Column
    >>> rows = Dataset(torch.ones(3, 2), None, Column.constant(3))
    >>> network = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 1))
    >>> frozen_features(network, rows, layer="1").shape
    torch.Size([3, 5])
    """
    file = cache / f"{_key(module, dataset, layer)}.safetensors" if cache else None
    known = _read(file, len(dataset)) if file and file.exists() else None
    if known is not None:
        return known
    features = forward(_UpTo(module, layer), dataset, batch_size)
    if file:
        write_tree(file, {"features": features, "sha256": _digest(features)})
    return features


class _UpTo(nn.Module):
    """A network that gives the outputs of one of its layers, flattened."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, x: Any) -> Tensor:
        with tapped(self.network, [self.layer]) as outputs:
            rows = len(self.network(x))
        found = outputs.get(self.layer)
        if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != rows:
            raise UserError(f"layer {self.layer!r} does not give a tensor with a line for each row: name another layer")
        return found.flatten(1) if found.ndim > 1 else found[:, None]


def _key(module: nn.Module, dataset: Dataset, layer: str) -> str:
    """A hash of the network's description and weights, the layer, and the rows."""
    digest = hashlib.sha256(repr((str(module), layer, dataset.fingerprint())).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {tensor.device.type}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:32]


def _read(file: Path, rows: int) -> Tensor | None:
    """The features in a file; None where it is damaged."""
    try:
        tree = read_tree(file)
        features: Tensor = tree["features"]
        if len(features) == rows and tree["sha256"] == _digest(features):
            return features
    except Unreadable:
        raise
    except (UserError, KeyError, TypeError):
        pass
    warnings.warn(f"{file} is damaged: the features are computed again", stacklevel=3)
    return None


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(_bytes(tensor)).hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    """The values as they lie in memory; of any type, bfloat16 among them."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
