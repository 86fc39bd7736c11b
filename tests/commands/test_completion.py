"""Completion: what bash offers, asked in a real bash."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import VERBS

Call = Callable[..., Any]
BASH = shutil.which("bash")


@pytest.fixture
def offered(call: Call, tmp_path: Path) -> Callable[..., list[str]]:
    """What bash offers for the last of some words."""
    if BASH is None:
        pytest.skip("there is no bash")
    (tmp_path / "holdfast.bash").write_text(call("completion", "bash").out)

    def ask(*words: str) -> list[str]:
        script = (
            'source holdfast.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _holdfast 2>/dev/null;'
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [BASH, "-c", script, "bash", "holdfast", *words], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.split()

    return ask


def test_verbs_and_options(offered: Callable[..., list[str]]) -> None:
    assert offered("") == list(VERBS)
    assert offered("re") == ["report", "reproduce"]
    assert offered("run", "colored-digits", "--see") == ["--seeds"]
    assert "--trust-pickle" in offered("audit", "--tr")
    assert offered("list", "--see") == []


def test_names_of_plug_ins_also_in_lists_and_chains(offered: Callable[..., list[str]]) -> None:
    assert offered("run", "colored-digits", "--method", "and-m") == ["and-mask"]
    assert offered("run", "colored-digits", "--method", "erm,gro") == ["erm,group-dro"]
    assert offered("run", "colored-digits", "--method", "irm,erm+dfr") == ["irm,erm+dfr"]
    assert offered("run", "x", "--evaluate", "rel") == ["reliance"]
    assert offered("run", "x", "--select", "worst-g") == ["worst-group"]


def test_tasks_and_files(offered: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "colored-tigers.csv").touch()
    assert set(offered("run", "colored-")) == {
        "colored-digits",
        "colored-mnist",
        "colored-mnist-10",
        "colored-tigers.csv",
    }
    assert offered("audit", "m", "--data", "colored-t") == ["colored-tigers.csv"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_know_the_same(call: Call, shell: str, tmp_path: Path) -> None:
    called = call("completion", shell)
    assert called.code == 0
    for word in (*VERBS, "seeds", "group-dro", "reliance"):
        assert word in called.out
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(called.out)
        assert subprocess.run([program, "-n", "script"], check=False).returncode == 0


def test_another_shell_is_one_line(call: Call) -> None:
    called = call("completion", "tcsh")
    assert (called.code, called.err.count("\n")) == (2, 1)
