"""``holdfast reproduce``: one object for a claim, the table for all, and an exit code that is not the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.registry import plugins
from holdfast.core.reproduction import Estimate, Finding
from holdfast.reproductions.ilc_linreg import IlcLinreg

Call = Callable[..., Any]
FAST = "ilc/linreg:seeds=2:steps=3"


def test_a_claim_prints_one_object(call: Call) -> None:
    called = call("reproduce", FAST, "--json")
    assert (called.code, called.err) == (0, "")
    assert set(called.json) >= {"claim", "verdict", "published", "measured", "seconds", "spec"}
    assert called.json["claim"] == "ilc/linreg"
    assert called.json["spec"]["options"] == {"seeds": 2, "steps": 3}
    assert called.json["spec"]["versions"]["ilc/linreg"] == IlcLinreg.version
    assert all(set(measured) == {"value", "low", "high", "n"} for measured in called.json["measured"].values())
    assert not list(Path().iterdir())


@pytest.mark.parametrize("verdict", ["holds", "fails", "inconclusive"])
def test_the_exit_code_is_not_the_verdict(call: Call, monkeypatch: pytest.MonkeyPatch, verdict: Any) -> None:
    monkeypatch.setattr(IlcLinreg, "reproduce", lambda self: Finding(verdict, {"x": Estimate(1, None, None, 2)}, "why"))
    called = call("reproduce", "ilc/linreg")
    assert called.code == 0
    assert called.out.startswith(f"ilc/linreg: {verdict} (why)\n")


def test_all_claims_are_one_json_value_and_write_the_table(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in plugins("reproduction").values():
        monkeypatch.setattr(cls, "reproduce", lambda self: Finding("holds", {}, "why"))
    called = call("reproduce", "--all", "--json", "--docs", "pages")
    assert called.code == 0
    stored = json.loads(Path("pages/reproductions.json").read_text())
    assert list(stored) == list(plugins("reproduction"))
    found = called.json
    assert [entry["claim"] for entry in found["claims"]] == list(stored)
    assert "| `ilc/linreg` | **holds** |" in Path("pages/reproductions.md").read_text()
    assert sorted(path.name for path in Path("pages").iterdir()) == ["reproductions.json", "reproductions.md"]


def test_one_claim_goes_into_the_table_where_a_folder_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IlcLinreg, "reproduce", lambda self: Finding("holds", {}, "why"))
    call("reproduce", "ilc/linreg")
    assert not Path("docs").exists()
    assert call("reproduce", "ilc/linreg", "--docs", "pages").code == 0
    assert "| `ilc/linreg` | **holds** |" in Path("pages/reproductions.md").read_text()
    assert "| `weights/rebasin` | not run |" in Path("pages/reproductions.md").read_text()
