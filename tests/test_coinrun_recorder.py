"""The recorder of CoinRun: one line where procgen is absent, a folder that the library reads where it is there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.registry import create
from holdfast.core.task import Task

RECORDER = Path(__file__).parents[1] / "examples" / "coinrun" / "record.py"
PYTHON = os.environ.get("HOLDFAST_PROCGEN_PYTHON")


def call(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-W", "ignore", str(RECORDER), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(importlib.util.find_spec("procgen") is not None, reason="procgen is installed here")
def test_without_procgen_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = call(sys.executable, str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "record.py: procgen is absent: run pip install procgen-mirror in an environment of its own"
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(PYTHON is None, reason="HOLDFAST_PROCGEN_PYTHON does not name a Python that has procgen-mirror")
def test_what_it_records_is_a_task(tmp_path: Path) -> None:
    assert PYTHON is not None
    counts = ["--train-levels", "2", "--selection-levels", "1", "--test-levels", "1", "--states", "20"]
    done = call(PYTHON, str(tmp_path), *counts)
    assert done.returncode == 0, done.stderr
    data = create(Task, "image-folder", path=str(tmp_path), label="action", environment="level", split="split").load()
    assert {s.name: len(s.data) for s in data.splits} == {"train": 40, "selection": 20, "test": 20}
    assert data.input_shape == (3, 64, 64)
    assert set(data.classes) <= {"right", "right-up", "up", "stay", "left"}
