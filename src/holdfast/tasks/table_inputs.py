"""What a model sees of the rows of a table: its columns as numbers, or the pictures of one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from holdfast.core.data import StoredInputs
from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.task import Model
from holdfast.models.cnn import CNN
from holdfast.models.hf import HuggingFace
from holdfast.models.mlp import MLP

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.tables import Encoder, TokenEncoder

SMALL_BYTES = 1 << 26
"""Pictures that take no more memory than this, in 8 bits, are decoded once, others when a batch needs them."""


@dataclass(frozen=True)
class RowInputs:
    """Inputs of N rows.

    Attributes:
        x: (N, …) float32, in memory or decoded when asked for; tokens by name.
        network: The usual architecture for them.
        encoder: What turned columns into x; None for pictures.
        features: The columns that they are made of.
        notes: One-line remarks for the report.
    """

    x: StoredInputs
    network: Model
    encoder: Encoder | TokenEncoder | None
    features: tuple[str, ...]
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
    notes = [f"inputs are the pictures of {column!r}, {reader.row_shape[2]} × {reader.row_shape[1]} pixels", *sizes]
    notes += _unused(features, column, "picture")
    small = len(reader) * math.prod(reader.row_shape) <= SMALL_BYTES
    return RowInputs(LazyInputs.of(reader.in_memory() if small else reader), CNN(), None, (column,), tuple(notes))


def _numbers(frame: pd.DataFrame, features: Sequence[str], train: Tensor) -> RowInputs:
    from holdfast.tables import fit_encoder

    encoder = fit_encoder(frame.iloc[train.numpy()], features)
    return RowInputs(encoder.inputs(frame), MLP(), encoder, tuple(features), encoder.notes)


def tokens_of_text(
    frame: pd.DataFrame, features: Sequence[str], train: Tensor, where: str, tokenizer: str, most: int
) -> RowInputs:
    """The one column of text as tokens, for the backbone that lies beside its tokenizer.

    Args:
        frame: N rows.
        features: The columns that may be used.
        train: (M,) positions of the training rows, whose longest text gives the length.
        where: How messages name the table.
        tokenizer: A folder with a tokenizer, or ``OWNER/NAME`` on the hub.
        most: Tokens of a row at most.

    Raises:
        UserError: There is not one column of text, or no tokenizer.
    """
    from holdfast.tables import TokenEncoder, text_column

    column = text_column(frame, features, where)
    encoder = TokenEncoder.fit(frame[column].iloc[train.numpy()], tokenizer, most)
    return RowInputs(
        encoder.inputs(frame),
        HuggingFace(path=tokenizer),
        encoder,
        (column,),
        (*encoder.notes, *_unused(features, column, "text")),
    )


def _unused(features: Sequence[str], column: str, kind: str) -> list[str]:
    others = [repr(name) for name in features if name != column]
    return [f"not used, as the input is a {kind}: {', '.join(others)}"] if others else []
