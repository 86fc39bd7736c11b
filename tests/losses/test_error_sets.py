"""Error sets, row by row."""

from __future__ import annotations

import pytest
import torch

from holdfast.losses import error_set


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_a_row_is_in_it_where_another_class_is_likelier(outputs: int) -> None:
    rng = torch.Generator().manual_seed(outputs)
    x, y = torch.randn(40, outputs, generator=rng), torch.randint(max(outputs, 2), (40,), generator=rng)
    logits = torch.cat([torch.zeros(40, 1), x], dim=1) if outputs == 1 else x
    wanted = [any(row[k] > row[label] for k in range(len(row))) for row, label in zip(logits, y, strict=True)]
    assert error_set(x, y).tolist() == wanted
