"""``--executor processes``: the same bits as in one process, whatever is killed, stopped or wrong."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from holdfast.core.errors import UserError
from holdfast.experiments.executors import Inline, executor_of
from holdfast.experiments.processes import Processes

Call = Callable[..., Any]
WORKERS = ("--executor", "processes:workers=2")

# A worker that kills itself before update 2 of a cell, each time or once.
SUICIDE = """
import os, pathlib, signal, sys
from holdfast import cli
from holdfast.training import trainer

def work(*arguments):
    import os, pathlib, signal
    from holdfast.training.trainer import _Loop
    update = _Loop._update
    def dying(loop):
        done = pathlib.Path("died")
        if loop.done == 1 and (sys.argv[1] == "always" or not done.exists()):
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        update(loop)
    _Loop._update = dying
    ours(*arguments)

from holdfast.experiments import processes
ours = processes._work
processes._work = work
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[2:]))
"""

SCRIPT_WITHOUT_GUARD = """
import sys
from holdfast import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def models(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("cells/*/*.safetensors"))}


def python(text: str, *words: str) -> subprocess.CompletedProcess[str]:
    Path("script.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "script.py", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_group_ends(group: int) -> None:
    """Nobody of a process group is left, soon."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("processes are left")


def test_processes_make_the_same_bits_and_the_same_page(run: Call) -> None:
    methods = {"method": "erm,erm+irm,v-rex", "seeds": 2}
    inline, apart = run("--output", "a", **methods), run("--output", "b", *WORKERS, **methods)
    assert (apart.code, apart.err) == (0, "")
    assert models(Path("a")) == models(Path("b")) != {}
    numbers = [re.sub(r"report: .*", "", called.out) for called in (inline, apart)]
    assert numbers[0] == numbers[1]


def test_a_table_is_loaded_by_every_worker(call: Call, patients: pd.DataFrame) -> None:
    patients.to_csv("p.csv", index=False)
    words = ("run", "p.csv", "--label", "died", "--environment", "ward", "--method", "erm", "--steps", 3, "--seeds", 1)
    for output, more in (("a", ()), ("b", WORKERS)):
        assert call(*words, "--evaluate", "performance", "--output", output, *more).code == 0
    assert models(Path("a")) == models(Path("b")) != {}


def test_a_sweep_finds_the_same(run: Call, call: Call) -> None:
    words = ("sweep", "linreg-patchwork", "--method", "erm,irm", "--steps", 3, "--seeds", 1, "--trials", 3)
    one, other = (
        call(*words, "--evaluate", "performance", "--output", o, *more).out for o, more in (("a", ()), ("b", WORKERS))
    )
    assert one.splitlines()[:-1] == other.splitlines()[:-1]


def test_a_worker_that_is_killed_is_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = (
        "run",
        "linreg-patchwork",
        "--method",
        "erm",
        "--seeds",
        "2",
        "--steps",
        "3",
        "--select",
        "last",
        "--evaluate",
        "performance",
        *WORKERS,
    )
    done = python(SUICIDE, "once", *words)
    assert done.returncode == 0, done.stderr
    assert "a worker was lost on erm with seed" in done.stderr
    done = python(SUICIDE, "always", *words, "--output", "other")
    assert done.returncode == 1
    assert re.search(r"^holdfast: 2 workers were lost on erm with seed \d", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def endless_run() -> Iterator[subprocess.Popen[str]]:
    """A run of two workers that would take hours, once both are at work; whatever happens, nothing of it is left."""
    words = ["run", "linreg-patchwork", "--method", "erm", "--seeds", "2", "--steps", "1000000", *WORKERS]
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # background jobs ignore it
    )
    try:
        deadline = time.monotonic() + 100
        while len(list(Path("runs/cells").glob(".partial-*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ctrl_c_stops_at_once_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with endless_run() as process:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert err == "holdfast: stopped; the same command goes on from here\n"
        assert_group_ends(process.pid)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with endless_run() as process:
        process.kill()
        process.wait()
        assert_group_ends(process.pid)


def test_a_script_without_the_guard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = python(SCRIPT_WITHOUT_GUARD, "run", "linreg-patchwork", "--method", "erm", "--seeds", "1", *WORKERS)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "under if __name__ == '__main__':" in done.stderr


def test_a_training_that_diverges_is_told_as_inline(run: Call) -> None:
    method = "erm:optimizer=SGD:optimizer.lr=1e30,erm"
    inline, apart = run("--output", "a", method=method), run("--output", "b", *WORKERS, method=method)
    assert inline.code == apart.code == 1
    assert "failed" in apart.err
    assert apart.err == inline.err


def test_data_that_change_meanwhile_are_one_line(
    call: Call, patients: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients.to_csv("p.csv", index=False)
    started = Processes.run

    def changed(*arguments: Any) -> Any:
        patients.assign(age=1.0 + patients["age"] ** 2).to_csv("p.csv", index=False)
        return started(*arguments)

    monkeypatch.setattr(Processes, "run", changed)
    words = ("run", "p.csv", "--label", "died", "--environment", "ward", "--method", "erm", "--steps", 3, "--seeds", 1)
    called = call(*words, *WORKERS)
    assert called.code == 2
    assert "the data of p.csv changed while the run was going on" in called.err
    assert called.err.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["process", "processes:workers=0", "processes:workers=x", "inline:workers=2", "processes:w=2"]
)
def test_mistakes_are_one_line(run: Call, text: str) -> None:
    called = run("--executor", text)
    assert (called.code, called.out) == (2, "")
    assert called.err.count("\n") == 1


def test_executors_by_name() -> None:
    assert executor_of("inline", 1) == Inline()
    assert executor_of("processes:workers=3", 1) == Processes(3)
    many = executor_of("processes", 1000)
    assert many == Processes(1)
    with pytest.raises(UserError, match="unknown --executor 'proceses': did you mean 'processes'"):
        executor_of("proceses", 1)


# A worker that is busy and says nothing: its parent is not missed when it sends.
SILENT = """
import multiprocessing, time
from holdfast.experiments import processes

def work(pipe):
    processes._answer = lambda *_: (print("at work", flush=True), time.sleep(300))
    processes._work(pipe, None, None)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    context.Process(target=work, args=(other,)).start()
    pipe.recv()
    pipe.send((None, False))
    time.sleep(300)
"""


def test_a_worker_that_says_nothing_ends_with_its_parent_too(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(SILENT, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "silent.py")], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.kill()
        process.wait()
        assert_group_ends(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
