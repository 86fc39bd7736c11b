"""Command lines called in this process, and a table to call them on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast import cli

TASK = (
    "spirals-shortcuts:environments=2:rows_per_environment=16:selection_environments=1:selection_rows=16:test_rows=16"
)


@dataclass(frozen=True)
class Called:
    """What a command line gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)


Call = Callable[..., Called]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a command line, given in words, within an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call_it(*words: object) -> Called:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return Called(code, captured.out, captured.err)

    return call_it


@pytest.fixture
def run(call: Call) -> Call:
    """``holdfast run`` on a task of 32 training rows, three steps, one seed; what is given comes last."""

    def run_it(*words: object, task: str = TASK, method: str = "erm", steps: int = 3, seeds: int = 1) -> Called:
        usual = ("--method", method, "--steps", steps, "--seeds", seeds, "--evaluate", "performance")
        model = () if "--model" in words else ("--model", "mlp:hidden=[4]")
        return call("run", task, *usual, *model, *words)

    return run_it


@pytest.fixture
def patients() -> pd.DataFrame:
    """60 rows of two wards, two features."""
    rng = np.random.default_rng(0)
    rows = 60
    return pd.DataFrame(
        {
            "age": rng.normal(60, 10, rows).round(1),
            "dose": rng.normal(0, 1, rows).round(3),
            "ward": np.array(["north", "south"])[np.arange(rows) % 2],
            "sex": np.array(["f", "m"])[np.arange(rows) // 2 % 2],
            "died": rng.integers(0, 2, rows),
        }
    )


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[], dict[str, int]]:
    """Every file and folder of the working folder with the time it was changed."""
    return lambda: {str(path): path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
