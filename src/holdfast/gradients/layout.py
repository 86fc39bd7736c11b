"""Where the rows of the batch are in a layer's tensors."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor


class Layout(Enum):
    """How a tensor of a layer holds the B rows of the losses."""

    ROWS = "rows first"
    POSITIONS = "k positions of each row one after the other, (B · k, …)"
    COPIES = "k copies of the batch one after the other, (k · B, …)"
    SEQUENCE = "rows second, (T, B, …)"

    def rows_first(self, tensor: Tensor, rows: int) -> Tensor:
        """A view of shape (B, …)."""
        match self:
            case Layout.ROWS:
                return tensor
            case Layout.POSITIONS:
                return tensor.reshape(rows, -1, *tensor.shape[1:])
            case Layout.COPIES:
                return tensor.reshape(-1, rows, *tensor.shape[1:]).transpose(0, 1)
            case Layout.SEQUENCE:
                return tensor.transpose(0, 1)


def possible_layouts(shape: torch.Size, rows: int) -> list[Layout]:
    """Layouts that the shape allows, the most usual first."""
    if len(shape) == 0:
        return []
    layouts = []
    if shape[0] == rows:
        layouts.append(Layout.ROWS)
    elif shape[0] % rows == 0 and shape[0]:
        layouts += [Layout.POSITIONS, Layout.COPIES]
    if len(shape) > 2 and shape[1] == rows:
        layouts.append(Layout.SEQUENCE)
    return layouts
