"""What a model sees of the rows of a table: its columns as numbers, or the pictures of one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.models.cnn import CNN
from holdfast.models.mlp import MLP

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.tables import Encoder

SMALL_BYTES = 1 << 26
"""Pictures that take no more memory than this, in 8 bits, are decoded once, others when a batch needs them."""


@dataclass(frozen=True)
class RowInputs:
    """Inputs of N rows.

    Attributes:
        x: (N, …) float32, in memory or decoded when asked for.
        network: The usual architecture for them.
        encoder: What turned columns into x; None for pictures.
        notes: One-line remarks for the report.
    """

    x: Tensor | LazyInputs
    network: MLP | CNN
    encoder: Encoder | None
    notes: tuple[str, ...]


def inputs_of(
    frame: pd.DataFrame, features: Sequence[str], train: Tensor, where: str, size: int | None = None
) -> RowInputs:
    """The pictures of the rows where a feature column holds encoded images, else all features as numbers.

    Args:
        frame: N rows.
        features: The columns that may be used.
        train: (M,) positions of the training rows, on which the encoding of columns is learnt.
        where: How messages name the table.
        size: Height and width of pictures; None for their own where it is common to all, else 64.

    Raises:
        UserError: Several columns hold images, one cannot be read, or no column can be used.
    """
    from holdfast.images import is_image_column

    images = [name for name in features if is_image_column(frame[name])]
    if len(images) > 1:
        listed = " and ".join(map(repr, images))
        raise UserError(f"{where} has images in the columns {listed}: leave all but one out with --drop")
    if images:
        return _pictures(frame, images[0], features, where, size)
    if size is not None:
        raise UserError(f"--size: {where} has no column of images; leave it out")
    return _numbers(frame, features, train)


def _pictures(frame: pd.DataFrame, column: str, features: Sequence[str], where: str, size: int | None) -> RowInputs:
    """Pixels (N, C, H, W): one channel where every picture is grey, else three."""
    from holdfast.images import encoded_images

    reader, sizes = encoded_images(frame[column], where, size)
    unused = [repr(name) for name in features if name != column]
    notes = [f"inputs are the pictures of {column!r}, {reader.row_shape[2]} × {reader.row_shape[1]} pixels", *sizes]
    notes += [f"not used, as the input is a picture: {', '.join(unused)}"] if unused else []
    small = len(reader) * math.prod(reader.row_shape) <= SMALL_BYTES
    return RowInputs(LazyInputs.of(reader.in_memory() if small else reader), CNN(), None, tuple(notes))


def _numbers(frame: pd.DataFrame, features: Sequence[str], train: Tensor) -> RowInputs:
    from holdfast.tables import fit_encoder

    encoder = fit_encoder(frame.iloc[train.numpy()], features)
    return RowInputs(torch.from_numpy(encoder.transform(frame)), MLP(), encoder, encoder.notes)
