"""Verdicts as objects and as the page docs/reproductions.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.core import files
from holdfast.core.registry import create, plugins
from holdfast.core.reproduction import Estimate, Finding, Reproduction
from holdfast.reproductions.ilc_linreg import IlcLinreg
from holdfast.reproductions.verdicts import reproduce, store_verdicts, verdict_table
from holdfast.tasks.linreg_patchwork import LinregPatchwork

MEASURED = {"loss": Estimate(0.4812, 0.47, 0.49, 10), "weight": Estimate(3.0, None, None, 10)}


def verdict(monkeypatch: pytest.MonkeyPatch, said: str = "holds") -> dict[str, object]:
    monkeypatch.setattr(IlcLinreg, "reproduce", lambda self: Finding(said, MEASURED, "so it is"))  # type: ignore[arg-type]
    return reproduce(IlcLinreg())


def test_the_object_has_the_keys_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdict(monkeypatch)
    assert set(found) >= {"claim", "verdict", "published", "measured", "seconds", "threads", "spec"}
    assert found["claim"] == "ilc/linreg"
    assert found["measured"] == {
        "loss": {"value": 0.4812, "low": 0.47, "high": 0.49, "n": 10},
        "weight": {"value": 3.0, "low": None, "high": None, "n": 10},
    }
    assert json.loads(json.dumps(found)) == found


def test_the_table_shows_a_verdict_with_its_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = store_verdicts(tmp_path, {"ilc/linreg": verdict(monkeypatch)}).read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| `ilc/linreg`"))
    assert "**holds** |" in row
    assert "loss 0.481 [0.47, 0.49]<br>weight 3 |" in row
    assert " 10 |" in row
    assert "arXiv:2009.00329" in page


@pytest.mark.parametrize("cls", [IlcLinreg, LinregPatchwork])
def test_a_verdict_of_another_version_is_stale(monkeypatch: pytest.MonkeyPatch, cls: type) -> None:
    stored = {"ilc/linreg": {**verdict(monkeypatch), "date": "2026-01-01"}}
    assert "stale" not in verdict_table(stored)
    monkeypatch.setattr(cls, "version", cls.version + 1)  # type: ignore[attr-defined]
    assert "**holds** (stale)" in verdict_table(stored)


def test_a_claim_that_was_not_run_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    page = verdict_table({})
    assert all(f"| `{name}` | not run |" in page for name in plugins("reproduction"))


def test_new_verdicts_replace_their_own_and_keep_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store_verdicts(tmp_path, {"other/claim": verdict(monkeypatch), "ilc/linreg": verdict(monkeypatch)})
    store_verdicts(tmp_path, {"ilc/linreg": verdict(monkeypatch, "fails")})
    stored = json.loads((tmp_path / "reproductions.json").read_text())
    assert {name: entry["verdict"] for name, entry in stored.items()} == {"other/claim": "holds", "ilc/linreg": "fails"}


def test_table_and_store_are_written_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store_verdicts(tmp_path, {"ilc/linreg": verdict(monkeypatch)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_flush", full)
    with pytest.raises(OSError, match="No space"):
        store_verdicts(tmp_path, {"ilc/linreg": verdict(monkeypatch, "fails")})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", plugins("reproduction"))
def test_every_claim_names_plug_ins_that_there_are(name: str) -> None:
    claim = create(Reproduction, name)
    assert claim.versions()[name] == claim.version
    assert all((claim.claim, claim.published, claim.source))
