"""The command line as a process: what --help imports, streams, exit codes, names that are nearly right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import __version__, cli
from holdfast.core.errors import HoldfastError, UserError

HEAVY = ("torch", "numpy", "pandas", "sklearn", "scipy", "matplotlib", "pyarrow", "jsonargparse", "rich", "jinja2")

# Prints the heavy modules that answering several command lines has imported.
PROBE = """
import contextlib, io, sys
from holdfast import cli

for words in {lines}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            cli.main(words)
        except SystemExit as leaving:
            assert not leaving.code
print(sorted(set({heavy}) & set(sys.modules)))
"""


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=100, check=False)


def test_help_and_mistakes_import_nothing_heavy() -> None:
    lines = [[], ["--help"], ["--version"], *([verb, "--help"] for verb in cli.VERBS)]
    lines += [["runn"], ["run"], ["run", "colored-digits", "--sed", "3"], ["run", "x", "--seeds", "y"]]
    done = python("-c", PROBE.format(lines=lines, heavy=HEAVY))
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_a_list_imports_torch_and_nothing_else_that_is_heavy() -> None:
    done = python("-c", PROBE.format(lines=[["list"], ["show", "erm"]], heavy=HEAVY))
    assert done.stdout == "['numpy', 'torch']\n"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_every_verb_goes_to_stdout(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([verb, "--help"])
    assert left.value.code == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert f"holdfast {verb}" in captured.out
    assert "--json" in captured.out


def test_help_has_examples_and_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert all(f"\n    {verb} " in text or f"\n    {verb}\n" in text for verb in cli.VERBS)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"holdfast {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (["list", "rules", "--json"], 0, ""),
        (
            ["run", "colored-digits", "--method", "grup-dro"],
            2,
            "holdfast: unknown method 'grup-dro': did you mean 'group-dro'?\n",
        ),
    ],
)
def test_the_process_has_the_exit_code(words: list[str], code: int, err: str) -> None:
    done = python("-m", "holdfast", *words)
    assert (done.returncode, done.stderr) == (code, err)
    assert bool(done.stdout) is (code == 0)


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = f"{sys.executable} -m holdfast list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("reader", [">&-", ">&- 2>&-", "| true"])
@pytest.mark.parametrize(("words", "code"), [("list rules", 0), ("--help", 0), ("show nothing", 2)])
def test_a_stream_that_is_closed_is_no_traceback(reader: str, words: str, code: int) -> None:
    command = f"{sys.executable} -m holdfast {words} {reader}; echo ${{PIPESTATUS[0]}} >&3"
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {command}"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout == f"{code}\n"
    assert done.stderr.count("\n") == (1 if code and "2>" not in reader else 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_without_room_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "holdfast", "list", "rules"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("holdfast: the disk is full")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("wrong: mend it"), 2, "holdfast: wrong: mend it\n"),
        (HoldfastError("failed"), 1, "holdfast: failed\n"),
        (UserError("a name\nin two lines"), 2, "holdfast: a name in two lines\n"),
        (KeyboardInterrupt(), 130, "holdfast: stopped; the same command goes on from here\n"),
        (OSError(28, "No space left on device"), 1, "holdfast: the disk is full: "),
        (OSError(30, "Read-only file system", "x"), 2, "holdfast: cannot write x (Read-only file system): make"),
    ],
    ids=repr,
)
def test_what_goes_wrong_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_call", fail)
    assert cli.main([]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("x"), AssertionError()], ids=repr)
def test_a_bug_is_a_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_call", fail)
    with pytest.raises(type(error)):
        cli.main([])


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["swep"], "'sweep'"),
        (["reprot"], "'report'"),
        (["sweep", "x", "--trial", "3"], "'--trials'"),
        (["list", "--jsn"], "'--json'"),
        (["run", "x", "--holdout", "y"], "'--holdout-environment'"),
        (["--verson"], "'--version'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_verbs_and_options_suggest_near_ones(
    capsys: pytest.CaptureFixture[str], words: list[str], near: str
) -> None:
    assert cli.main(words) == 2
    assert f"did you mean {near}" in capsys.readouterr().err


def test_an_option_given_twice_is_refused_unless_it_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "x", "--steps", "1", "--steps=2"]) == 2
    assert capsys.readouterr().err == "holdfast: --steps is given twice: keep one\n"
    options = cli.build_parser().parse_args(["run", "x", "--group", "a", "--group", "b"])
    assert options.group == ["a", "b"]
