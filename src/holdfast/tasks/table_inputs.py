"""What a model sees of the rows of a table: its columns as numbers, or the pictures of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.core.errors import UserError
from holdfast.models.cnn import CNN
from holdfast.models.mlp import MLP

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.tables import Encoder


@dataclass(frozen=True)
class RowInputs:
    """Inputs of N rows.

    Attributes:
        x: (N, …) float32.
        network: The usual architecture for them.
        encoder: What turned columns into x; None for pictures.
        notes: One-line remarks for the report.
    """

    x: Tensor
    network: MLP | CNN
    encoder: Encoder | None
    notes: tuple[str, ...]


def inputs_of(frame: pd.DataFrame, features: Sequence[str], train: Tensor, where: str) -> RowInputs:
    """The pictures of the rows where a feature column holds encoded images, else all features as numbers.

    Args:
        frame: N rows.
        features: The columns that may be used.
        train: (M,) positions of the training rows, on which the encoding of columns is learnt.
        where: How messages name the table.

    Raises:
        UserError: Several columns hold images, one is damaged, or no column can be used.
    """
    from holdfast.tables import is_image_column

    images = [name for name in features if is_image_column(frame[name])]
    if len(images) > 1:
        listed = " and ".join(map(repr, images))
        raise UserError(f"{where} has images in the columns {listed}: leave all but one out with --drop")
    if images:
        return _pictures(frame, images[0], features, where)
    return _numbers(frame, features, train)


def _pictures(frame: pd.DataFrame, column: str, features: Sequence[str], where: str) -> RowInputs:
    """Pixels (N, C, H, W) in [0, 1]: one channel where every picture is grey, else three."""
    from holdfast.tables import decode_column, image_mode

    pixels = torch.from_numpy(decode_column(frame[column], image_mode(frame[column], where), where))
    x = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    unused = [repr(name) for name in features if name != column]
    notes = [f"inputs are the pictures of {column!r}, {x.shape[3]} × {x.shape[2]} pixels"]
    notes += [f"not used, as the input is a picture: {', '.join(unused)}"] if unused else []
    return RowInputs(x / 255, CNN(), None, tuple(notes))


def _numbers(frame: pd.DataFrame, features: Sequence[str], train: Tensor) -> RowInputs:
    from holdfast.tables import fit_encoder

    encoder = fit_encoder(frame.iloc[train.numpy()], features)
    return RowInputs(torch.from_numpy(encoder.transform(frame)), MLP(), encoder, encoder.notes)
