"""Data sets of the hub: what is downloaded, where it goes, and what a user reads when it cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from holdfast.core.errors import MissingExtra, UserError
from holdfast.tables import read_table
from holdfast.tasks.hub import hub_folder


class Rows:
    """Stands for a split of the library's."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def to_parquet(self, path: str) -> None:
        self.frame.to_parquet(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def library(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """A library ``datasets`` that gives this answer, or raises it, and the names it was asked for."""
    asked: list[str] = []

    def load_dataset(name: str) -> Any:
        asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.disable_progress_bars = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_splits_become_a_local_folder_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {name: Rows(pd.DataFrame({"x": [1, 2], "y": [0, k]})) for k, name in enumerate(("train", "test"))}
    asked = library(monkeypatch, splits)
    folder = hub_folder("hub:someone/some-data")
    assert sorted(file.name for file in folder.iterdir()) == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00001.parquet",
    ]
    assert read_table(folder)["split"].tolist() == ["test", "test", "train", "train"]
    assert hub_folder("hub:someone/some-data") == folder
    assert asked == ["someone/some-data"]


def test_no_network_is_one_line_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, ConnectionError("Couldn't reach the hub\nafter 5 tries"))
    with pytest.raises(UserError, match="name a local folder of its Parquet files instead") as caught:
        hub_folder("hub:someone/some-data")
    assert "\n" not in str(caught.value)
    assert "Couldn't reach the hub after 5 tries" in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_download_that_breaks_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Rows):
        def to_parquet(self, path: str) -> None:
            raise OSError(28, "No space left on device")

    library(monkeypatch, {"train": Rows(pd.DataFrame({"x": [1]})), "test": Broken(pd.DataFrame())})
    with pytest.raises(OSError, match="No space left"):
        hub_folder("hub:someone/some-data")
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert not list(cache.rglob("someone--some-data"))


@pytest.mark.parametrize("address", ["hub:", "hub:mnist", "hub:a/b/c", "hub:../..//x", "hub:a/"])
def test_what_is_no_address(address: str, cache: Path) -> None:
    with pytest.raises(UserError, match="write hub:OWNER/NAME"):
        hub_folder(address)


def test_without_the_library(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'holdfast\[data\]'"):
        hub_folder("hub:someone/some-data")
