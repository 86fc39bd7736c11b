"""A stand-in for MNIST: 1,400 images whose pixels tell the digit and the row, in the hub's layout."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def standin(first: int, rows: int) -> pd.DataFrame:
    """Row k shows digit k % 10: a square of that many pixels in grey 255 − digit, and noise that is the row's."""
    records = []
    for k in range(first, first + rows):
        pixels = np.random.default_rng(k).integers(0, 40, (28, 28)).astype(np.uint8)
        digit = k % 10
        pixels[4 : 8 + digit, 4 : 8 + digit] = 255 - digit
        records.append({"image": {"bytes": png(pixels), "path": None}, "label": digit})
    return pd.DataFrame(records)


@pytest.fixture(scope="session")
def standin_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with ``mnist`` and ``fashion_mnist``."""
    root = tmp_path_factory.mktemp("data")
    for name in ("mnist", "fashion_mnist"):
        (root / name).mkdir()
        standin(0, 1200).to_parquet(root / name / "train-00000-of-00001.parquet")
        standin(1200, 200).to_parquet(root / name / "test-00000-of-00001.parquet")
    return root
