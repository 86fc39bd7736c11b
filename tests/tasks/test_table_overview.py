"""The table of environments, with pandas as oracle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.core.data import Column, Dataset
from holdfast.tasks.table_overview import MAX_CLASSES, MAX_ENVIRONMENTS, environment_table


def data(environments: int, y: torch.Tensor) -> Dataset:
    codes = torch.arange(len(y)) % environments
    return Dataset(torch.zeros(len(y), 1), y, Column(codes, tuple(f"e{e}" for e in range(environments))))


def test_regression_moments() -> None:
    y = torch.randn(999) * 3 + 1e4
    rows = environment_table(data(7, y), "cost", (), torch.tensor([2, 9])).rows
    grouped = pd.Series(y.double().numpy()).groupby(np.arange(999) % 7)
    for e, row in enumerate(rows):
        assert row[:3] == (f"e{e}", grouped.size()[e], "test" if e == 2 else "train")
        assert row[3:] == pytest.approx((grouped.mean()[e], grouped.std(ddof=0)[e]), rel=1e-9)


def test_class_shares() -> None:
    y = torch.randint(3, (500,))
    table = environment_table(data(4, y), "kind", ("a", "b", "c"), torch.tensor([], dtype=torch.int64))
    assert table.columns == ("environment", "rows", "used for", "kind: a", "kind: b", "kind: c")
    shares = pd.crosstab(np.arange(500) % 4, y.numpy(), normalize="index").to_numpy()
    np.testing.assert_allclose([row[3:] for row in table.rows], shares, rtol=1e-6)


def test_many_environments_and_classes_are_cut() -> None:
    y = torch.arange(3000) % 100
    table = environment_table(data(80, y), "kind", tuple(map(str, range(100))), torch.tensor([0]))
    assert len(table.rows) == MAX_ENVIRONMENTS
    assert len(table.columns) == 3 + MAX_CLASSES
    assert table.caption == "The 20 largest of 80 environments."
    assert "<table>" in table.to_html()
