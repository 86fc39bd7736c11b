"""The cell store: a cell is whole or absent, and a damaged one is refused with the mend."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Finding, Result
from holdfast.core.files import write_tree
from holdfast.core.registry import create
from holdfast.experiments.cells import finish_cell, load_module
from holdfast.experiments.evaluate import evaluate_cell, read_result
from holdfast.experiments.grid import Grid
from holdfast.experiments.store import Cell, CellFiles, CellStore

MakeGrid = Callable[..., Grid]
NAMES = [
    "checkpoints",
    "checksums.json",
    "ledger.json",
    "log.jsonl",
    "model.safetensors",
    "provenance.json",
    "records.parquet",
]


class Killed(BaseException):
    """Stands for the end of the process."""


class Kill:
    """Ends the process at the k-th operation on files; from then on, no clean-up gets through either."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        self.happened = False
        for owner, name in [
            (Path, "mkdir"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "open"),
            (os, "fsync"),
            (shutil, "copyfile"),
            (shutil, "rmtree"),
        ]:
            monkeypatch.setattr(owner, name, self._dying(getattr(owner, name)))

    def _dying(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def operate(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                self.happened = True
                raise Killed
            return operation(*args, **kwargs)

        return operate


def only_cell(grid: Grid, store: CellStore) -> Cell:
    ((fold, spec),) = grid.specs()
    return finish_cell(spec, fold.data, store)


def read_everything(grid: Grid, store: CellStore) -> None:
    """What a report of one cell reads, after its evaluation is finished or found."""
    ((fold, spec),) = grid.specs()
    performance = create(Evaluation, "performance")
    read_result(store, evaluate_cell(spec, finish_cell(spec, fold.data, store), fold.data, [performance]))
    store.index()


@pytest.mark.parametrize("methods", ["erm", "logistic"])
def test_a_kill_at_any_third_operation_on_files_leaves_a_whole_cell_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_grid: MakeGrid, methods: str
) -> None:
    grid = make_grid(methods, steps=1)
    clean = only_cell(grid, CellStore(tmp_path / "clean"))
    for after in range(0, 1000, 3):
        store = CellStore(tmp_path / f"killed-{after}")
        with monkeypatch.context() as patch:
            kill = Kill(patch, after)
            with contextlib.suppress(Killed):
                only_cell(grid, store)
        for cell in store:
            store.check(cell)
        again = only_cell(grid, store)
        assert [cell.key for cell in store] == [clean.key]
        assert content(again, "model.safetensors") == content(clean, "model.safetensors")
        assert content(again, "checkpoints/*") == content(clean, "checkpoints/*")
        assert again.records == clean.records
        if not kill.happened:
            break
    assert after > 15


def content(cell: Cell, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cell.folder.glob(pattern) if path.is_file()}


def test_a_finished_cell_leaves_nothing_unfinished_behind(store: CellStore, make_grid: MakeGrid) -> None:
    cell = only_cell(make_grid(), store)
    assert [path.name for path in store.root.iterdir()] == [cell.key]
    assert sorted(path.name for path in cell.folder.iterdir()) == [*NAMES, "spec.json"]


def test_two_processes_that_finish_the_same_cell_leave_one(store: CellStore, make_grid: MakeGrid) -> None:
    """Both have done the work; the second finds the name taken."""
    ((_, spec),) = make_grid().specs()
    cell = only_cell(make_grid(), store)
    before = content(cell, "*")
    shutil.copytree(cell.folder, store.partial(spec), dirs_exist_ok=True)
    files = CellFiles(cell.weights(None), cell.records, cell.history, cell.read("ledger"), cell.read("provenance"))
    assert store.finish(spec, files) == cell
    assert [path.name for path in store.root.iterdir()] == [cell.key]
    assert content(cell, "*") == before


# Finishes the cells of a grid as another process does, slowly; prints how many it trained itself.
OTHER = """
import sys, time
from holdfast import cli
from holdfast.training.trainer import _Loop

update, trained = _Loop._update, []

def slowly(loop):
    time.sleep(0.05)
    trained.append(loop.done)
    update(loop)

_Loop._update = slowly
code = cli.main(sys.argv[1:])
print(len(trained))
sys.exit(code)
"""


def test_two_processes_at_the_same_time_train_every_cell_once(tmp_path: Path) -> None:
    words = ["run", "linreg-patchwork", "--method", "erm,irm", "--seeds", "2", "--steps", "8", "--select", "last"]
    command = [sys.executable, "-c", OTHER, *words, "--evaluate", "performance", "--output", str(tmp_path / "runs")]
    pair = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ended
    assert sum(int(out.splitlines()[-1]) for out, _ in ended) == 4 * 8
    assert all(err.count("another process trains cells in") == err.count("\n") <= 1 for _, err in ended)
    names = {path.name for path in (tmp_path / "runs" / "cells").iterdir()}
    assert len(names) == 4
    assert not [name for name in names if name.startswith(".")]


def test_who_finds_a_cell_locked_says_so_and_waits(store: CellStore, make_grid: MakeGrid) -> None:
    ((fold, spec),) = make_grid().specs()
    store.root.mkdir()
    locked = (store.root / f".lock-{spec.key}").open("w")
    fcntl.flock(locked, fcntl.LOCK_EX)
    timer = threading.Timer(0.5, locked.close)
    timer.start()
    with pytest.warns(UserWarning, match=f"another process trains cells in {store.root}: waiting"):
        cell = finish_cell(spec, fold.data, store)
    timer.join()
    assert [path.name for path in store.root.iterdir()] == [cell.key]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
    "{}": lambda path: path.write_text("{}"),
    "[]": lambda path: path.write_text("[]"),
    "1": lambda path: path.write_text("1\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("methods", ["erm", "logistic"])
def test_any_damaged_file_is_one_line_with_a_mend_that_works(
    tmp_path: Path, make_grid: MakeGrid, methods: str, damage: str
) -> None:
    grid = make_grid(methods, steps=1)
    whole = CellStore(tmp_path / "whole")
    read_everything(grid, whole)
    refused = set()
    for number, path in enumerate(sorted(path.relative_to(whole.root) for path in whole.root.glob("*/**/*.*"))):
        store = CellStore(tmp_path / str(number))
        shutil.copytree(whole.root, store.root)
        DAMAGES[damage](store.root / path)
        try:
            read_everything(grid, store)
        except UserError as error:
            refused.add(path.name)
            mend(store, str(error))
        read_everything(grid, store)
    assert refused >= {"spec.json", "provenance.json"}


def mend(store: CellStore, message: str) -> None:
    """Do what the message says: remove the path it names."""
    assert "\n" not in message
    assert "damaged" in message
    assert "and run again" in message
    (path,) = {Path(word.strip("():;,")) for word in message.split() if word.startswith(str(store.root))}
    assert path.exists(), message
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("change", [{"seed": 1}, {"seed": 0, "new": 1}, {"batch_size": 9}])
def test_a_spec_changed_by_hand_is_refused(store: CellStore, make_grid: MakeGrid, change: dict[str, Any]) -> None:
    cell = only_cell(make_grid(), store)
    (cell.folder / "spec.json").write_text(json.dumps({**cell.read("spec"), **change}))
    with pytest.raises(UserError, match=r"spec\.json was changed.*remove it and run again"):
        only_cell(make_grid(), store)


def test_the_spec_written_with_other_spaces_is_the_same_spec(store: CellStore, make_grid: MakeGrid) -> None:
    cell = only_cell(make_grid(), store)
    (cell.folder / "spec.json").write_text(json.dumps(cell.read("spec"), indent=4))
    assert only_cell(make_grid(), store) == cell


def test_the_index_is_rebuilt_from_the_folders(store: CellStore, make_grid: MakeGrid) -> None:
    cells = [only_cell(make_grid(methods), store) for methods in ("erm", "irm")]
    frame = store.index()
    index = store.root / "index.parquet"
    assert sorted(frame["cell"]) == sorted(cell.key for cell in cells)
    assert set(frame["method"]) == {"erm", "irm"}
    for damage in (index.unlink, lambda: index.write_bytes(b"damaged")):
        damage()
        pd.testing.assert_frame_equal(store.index(), frame)
        pd.testing.assert_frame_equal(pd.read_parquet(index), frame)
    shutil.rmtree(cells[0].folder)
    assert list(store.index()["cell"]) == [cells[1].key]


def test_the_index_of_an_empty_store_is_empty_and_writes_nothing(store: CellStore) -> None:
    assert list(store.index().columns) == ["cell", "task", "fold", "method", "seed", "finished"]
    assert not store.root.exists()


def test_a_cell_is_found_by_the_beginning_of_its_hash(store: CellStore, make_grid: MakeGrid) -> None:
    cells = [only_cell(make_grid(methods), store) for methods in ("erm", "irm")]
    assert store.get(cells[0].key[:8]) == cells[0]
    with pytest.raises(UserError, match=r"2 finished cells .* see holdfast list cells"):
        store.get("")
    with pytest.raises(UserError, match=r"no finished cells .* begin with 'zz'"):
        store.get("zz")


@pytest.mark.parametrize("step", [None, 0, 3])
def test_weights_changed_by_hand_are_never_used(store: CellStore, make_grid: MakeGrid, step: int | None) -> None:
    """The file is one that reads well: only its checksum tells."""
    cell = only_cell(make_grid(), store)
    cell.weights(step)
    name = "model.safetensors" if step is None else f"checkpoints/step-{step:08d}.safetensors"
    weights = {key: tensor + 1 for key, tensor in cell.weights(step).items()}
    write_tree(cell.folder / name, weights if step is None else {"model": weights})
    with pytest.raises(UserError, match=rf"^cell {cell.folder} is damaged \({name}\): remove it and run again$"):
        cell.weights(step)


def test_an_estimator_of_foreign_types_is_not_opened(store: CellStore, make_grid: MakeGrid) -> None:
    import skops.io

    cell = only_cell(make_grid("logistic"), store)
    model, checksums = cell.folder / "model.skops", cell.folder / "checksums.json"
    skops.io.dump({"path": Path("x")}, model)
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    checksums.write_text(json.dumps({**json.loads(checksums.read_text()), "model.skops": checksum}))
    with pytest.raises(UserError, match="not scikit-learn's"):
        cell.estimator()


def test_a_chain_goes_on_from_no_estimator(store: CellStore, make_grid: MakeGrid) -> None:
    ((fold, spec),) = make_grid("logistic").specs()
    with pytest.raises(UserError, match="logistic is not a network"):
        load_module(spec, finish_cell(spec, fold.data, store), fold.data)


@pytest.mark.parametrize(("methods", "names"), [("erm", {"main", "outside"}), ("logistic", {"outside"})])
def test_a_ledger_has_the_seconds_of_the_whole_fit(
    store: CellStore, make_grid: MakeGrid, methods: str, names: set[str]
) -> None:
    seconds = only_cell(make_grid(methods), store).read("ledger")["seconds"]
    assert set(seconds) == names
    assert all(value > 0 for value in seconds.values())


def test_findings_are_kept_in_order(store: CellStore, make_grid: MakeGrid) -> None:
    cell = only_cell(make_grid(), store)
    findings = (Finding("scanner", "The model relies on 'scanner'.", alarm=True), Finding("age", "It does on 'age'."))
    cell.save_evaluation("abc", {}, Result(findings=findings))
    assert cell.evaluation("abc").findings == findings
