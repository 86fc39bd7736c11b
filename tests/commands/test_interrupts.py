"""Ctrl-C, a kill, a full disk, a folder that cannot be written: what is finished stays, the same command goes on."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast.core.files
from holdfast.training.trainer import _Loop

Call = Callable[..., Any]
STEPS = 12
WORDS = ["run", "linreg-patchwork", "--method", "erm", "--seeds", "2", "--select", "last", "--evaluate", "performance"]

# A process that gets a signal before update AT of its first cell, with a full checkpoint after every update.
DRIVER = """
import os, sys
from holdfast import cli
from holdfast.training.trainer import Trainer, _Loop

Trainer.__init__.__kwdefaults__["checkpoint_seconds"] = 0.0
update, (number, at) = _Loop._update, map(int, sys.argv[1:3])

def signalled(loop):
    if loop.done + 1 == at:
        os.kill(os.getpid(), number)
    update(loop)

_Loop._update = signalled
sys.exit(cli.main(sys.argv[3:]))
"""


def models(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("cells/*/*.safetensors")}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_stopped_by_a_signal_goes_on_and_ends_bit_for_bit_the_same(
    call: Call, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    at = random.Random(number).randrange(3, STEPS)
    words = [*WORDS, "--steps", str(STEPS)]
    command = [sys.executable, "-c", DRIVER, str(int(number)), str(at), *words, "--output", "stopped"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    if number == signal.SIGINT:
        assert done.stderr == "holdfast: stopped; the same command goes on from here\n"
    left = [path.name for path in Path("stopped/cells").iterdir() if not path.name.startswith(".lock-")]
    assert len(left) == 1
    assert left[0].startswith(".partial-")
    updates = counted_updates(monkeypatch)
    assert call(*words, "--output", "stopped").code == 0
    assert updates[0] == at, "the first cell goes on where it was stopped"
    assert len(updates) == 2 * STEPS + 1 - at
    assert call(*words, "--output", "clean").code == 0
    assert models(Path("stopped")) == models(Path("clean"))
    assert len(models(Path("clean"))) == 2


def counted_updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of every update that is begun."""
    updates: list[int] = []
    update = _Loop._update
    monkeypatch.setattr(_Loop, "_update", lambda loop: (updates.append(loop.done + 1), update(loop)))
    return updates


def test_ctrl_c_before_anything_ran_is_130_and_leaves_nothing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.commands import request

    def interrupted(task: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(request, "load_folds", interrupted)
    called = call(*WORDS)
    assert (called.code, called.err) == (130, "holdfast: stopped; the same command goes on from here\n")
    assert not list(Path().iterdir())


def test_a_disk_that_fills_up_at_any_write_is_one_line_and_the_command_goes_on(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The k-th file that is made to reach the disk finds no room; k grows until the run gets through."""
    words = [*WORDS, "--steps", "2"]
    assert call(*words, "--output", "clean").code == 0
    flush = holdfast.core.files._flush
    for after in range(0, 200, 7):
        left = [after]

        def full(path: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            flush(path)

        before = models(Path("full"))
        with monkeypatch.context() as patch:
            patch.setattr(holdfast.core.files, "_flush", full)
            called = call(*words, "--output", "full")
        if called.code == 0:
            break
        assert called.code == 1
        assert called.err.startswith("holdfast: the disk is full: ")
        assert called.err.count("\n") == 1
        assert not list(Path("full").rglob("*.tmp"))
        assert before.items() <= models(Path("full")).items()
        if after % 3:
            shutil.rmtree("full")
    assert after > 14
    assert call(*words, "--output", "full").code == 0
    assert models(Path("full")) == models(Path("clean"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("room", [0, 2, 4, 8, 16, 24, 40])
def test_a_disk_that_is_really_full(call: Call, small_disk: Path, room: int) -> None:
    """``room`` kilobytes are left after the first cell: the second fails in one line, the first stays."""
    one = [*WORDS, "--steps", "2", "--output", small_disk]
    one[one.index("--seeds") + 1] = "1"
    assert call(*one).code == 0
    before = models(small_disk)
    with (small_disk / "filler").open("wb") as filler:
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write(bytes(max(0, free - room * 1024)))
    two = ["3" if word == "1" else word for word in one]
    called = call(*two)
    assert called.code == 1, called.err
    assert called.err.startswith("holdfast: the disk is full: ")
    assert called.err.count("\n") == 1
    assert before.items() <= models(small_disk).items()
    (small_disk / "filler").unlink()
    assert call(*two).code == 0


def test_an_output_that_is_a_file_is_refused(call: Call) -> None:
    Path("taken").write_text("mine")
    called = call(*WORDS, "--steps", "2", "--output", "taken")
    assert called.code == 2
    assert called.err.startswith("holdfast: cannot write taken")
    assert "--output" in called.err
    assert Path("taken").read_text() == "mine"


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="/sys is where not even root can make a folder")
def test_an_output_that_cannot_be_written_is_refused(call: Call) -> None:
    called = call(*WORDS, "--steps", "2", "--output", "/sys/holdfast")
    assert called.code == 2
    assert called.err.startswith("holdfast: cannot write /sys/holdfast")
    assert called.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_without_permission_is_refused(call: Call) -> None:
    Path("closed").mkdir(mode=0o500)
    called = call(*WORDS, "--steps", "2", "--output", "closed")
    assert called.code == 2
    assert called.err.startswith("holdfast: cannot write closed")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")]
)
def test_too_little_memory_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(loop: Any) -> None:
        raise error

    monkeypatch.setattr(_Loop, "_update", fail)
    called = call(*WORDS, "--steps", "2")
    assert called.code == 1
    assert called.err == "holdfast: out of memory: use a smaller --batch-size, a smaller --model or fewer rows\n"


def test_a_bug_stays_a_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loop: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(_Loop, "_update", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        call(*WORDS, "--steps", "2")


# The user of the tests may be root, who may read everything: without these capabilities root is like everyone.
AS_A_USER = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


@pytest.mark.parametrize(
    ("closed", "words", "line"),
    [
        ("cells", ["list", "cells"], "cannot read runs/cells (Permission denied)"),
        ("cells/KEY", ["show", "KEY"], "cannot read runs/cells/KEY (Permission denied)"),
        ("cells/KEY/ledger.json", ["show", "KEY"], "cannot read runs/cells/KEY/ledger.json (permission denied)"),
        ("cells/KEY/ledger.json", [*WORDS, "--steps", "2"], "KEY/ledger.json (permission denied)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_may_not_be_read_is_not_called_damaged(call: Call, closed: str, words: list[str], line: str) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may read everything")
    assert call(*WORDS, "--steps", "2").code == 0
    key = sorted(path.name for path in Path("runs/cells").iterdir())[0]
    path = Path("runs", closed.replace("KEY", key))
    mode = path.stat().st_mode
    path.chmod(0)
    command = [sys.executable, "-m", "holdfast", *(word.replace("KEY", key) for word in words)]
    prefix = AS_A_USER if os.geteuid() == 0 else ()
    done = subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=100, check=False)
    path.chmod(mode)
    assert done.returncode == 2, done.stderr
    assert line.replace("KEY", key) in done.stderr
    assert done.stderr.endswith(": ask for permission to read it\n")
    assert done.stderr.count("\n") == 1
