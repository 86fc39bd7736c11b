"""What every test runs under: one thread, deterministic algorithms, the same random start."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

# The first call of an operator may take a second, and the machine may be busy: no example has a deadline.
hypothesis.settings.register_profile("holdfast", deadline=None)
hypothesis.settings.load_profile("holdfast")


def pytest_configure() -> None:
    """Settings of the whole session, doctests included."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """A test that draws from the global generator draws the same whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets."""
    folder = os.environ.get("HOLDFAST_DATA")
    if not folder:
        pytest.skip("HOLDFAST_DATA does not name the folder with the real data sets")
    return Path(folder)
