"""``holdfast doctor``: a line for each check, what mends what is broken, and the exit code that says so."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def checks(called: Any) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in called.json["checks"]}


def test_a_healthy_installation(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sets" / "mnist").mkdir(parents=True)
    (tmp_path / "sets" / "mnist" / "train-00000-of-00001.parquet").touch()
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "sets"))
    called = call("doctor", "--json")
    found = checks(called)
    assert called.code == 0
    assert found["torch"]["state"] == "well"
    assert found["training"]["found"].startswith("works (")
    assert found["data sets"]["found"] == "mnist"
    assert [path.name for path in tmp_path.iterdir()] == ["sets"]


def test_lines_are_for_people(call: Call) -> None:
    called = call("doctor")
    assert called.code == 0
    assert "✓ python" in called.out
    assert "\x1b" not in called.out


def test_what_is_missing_or_too_old_is_named_with_its_mend(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def changed(name: str) -> str:
        if name in ("skops", "onnxruntime"):
            raise importlib.metadata.PackageNotFoundError
        return "1.0" if name == "scipy" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", changed)
    called = call("doctor", "--json")
    found = checks(called)
    assert called.code == 1
    assert found["skops"]["mend"].startswith("pip install 'skops")
    assert found["scipy"]["found"].startswith("1.0, and ")
    assert found["onnxruntime (onnx)"] == {
        "name": "onnxruntime (onnx)",
        "state": "note",
        "found": "not installed",
        "mend": "pip install 'holdfast[onnx]'",
    }


def test_a_plug_in_that_does_not_import_is_a_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("mine", "no_such_module_of_mine", "holdfast.plugins")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [entry])
    called = call("doctor", "--json")
    assert called.code == 1
    assert "no_such_module_of_mine does not import (ModuleNotFoundError" in checks(called)["plug-in mine"]["found"]


def test_a_torchvision_that_fails_is_only_a_note(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = checks(call("doctor", "--json"))["torchvision"]
    assert found["state"] == "note"
    assert "nms does not exist" in found["found"]


def test_folders_that_are_not_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", "/nowhere/at/all")
    called = call("doctor", "--json")
    assert called.code == 1
    assert "which is no folder" in checks(called)["data sets"]["found"]
    monkeypatch.delenv("HOLDFAST_DATA")
    assert checks(call("doctor", "--json"))["data sets"]["state"] == "note"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_cannot_be_written(call: Call, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    called = call("doctor", "--json")
    tmp_path.chmod(0o700)
    assert called.code == 1
    assert checks(called)["output"]["mend"] == "name another folder with --output"
