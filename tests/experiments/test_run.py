"""Runs: what is finished is never made again, and equal specs give equal bytes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.commands.request import evaluations_of
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation
from holdfast.core.inference import GroupInference
from holdfast.experiments import cells, evaluate
from holdfast.experiments.grid import Grid
from holdfast.experiments.numerics import Numerics
from holdfast.experiments.results import RunResult
from holdfast.experiments.run import read_run, run_grid, summary_of
from holdfast.experiments.store import CellStore
from holdfast.experiments.summary import summarise
from holdfast.inference.errors import Errors
from holdfast.training import Trainer

MakeGrid = Callable[..., Grid]


def run(grid: Grid, root: Path, evaluations: str = "performance") -> RunResult:
    return read_run(run_grid(grid, root, evaluations_of(evaluations), command="holdfast run tiny"))


def keys(root: Path) -> list[str]:
    return [cell.key for cell in CellStore(root / "cells")]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes whatever trains afterwards fail."""

    def forbid() -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise AssertionError("something was trained again")

        monkeypatch.setattr(Trainer, "fit", fail)
        monkeypatch.setattr(Trainer, "__init__", fail)

    return forbid


def test_the_same_run_again_trains_and_evaluates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_grid: MakeGrid, no_training: Callable[[], None]
) -> None:
    grid = make_grid("erm,erm+dfr,logistic", seeds=2)
    first = run(grid, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cells/**/*.*")}
    no_training()
    monkeypatch.setattr(evaluate, "finished_predictor", lambda *_: pytest.fail("something was evaluated again"))
    again = run(make_grid("erm,erm+dfr,logistic", seeds=2), tmp_path)
    assert summarise(again).as_dict() == summarise(first).as_dict()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cells/**/*.*")} == files


def test_another_evaluation_trains_nothing_and_keeps_the_first(
    tmp_path: Path, make_grid: MakeGrid, no_training: Callable[[], None]
) -> None:
    (before,) = run(make_grid(), tmp_path).cells
    no_training()
    (after,) = run(make_grid(), tmp_path, "performance,worst-group").cells
    assert after.measurements[: len(before.measurements)] == before.measurements
    assert len(after.measurements) > len(before.measurements)
    assert keys(tmp_path) == [before.key]


def test_another_option_of_an_evaluation_is_another_evaluation(tmp_path: Path, make_grid: MakeGrid) -> None:
    one, other = (run(make_grid(), tmp_path, f"worst-group:level={level}").cells[0] for level in (0.9, 0.8))
    assert one.key == other.key
    folder = tmp_path / "cells" / one.key / "measurements"
    assert len(list(folder.iterdir())) == 2


def test_the_prefix_of_a_chain_is_one_shared_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_grid: MakeGrid
) -> None:
    made: list[str] = []
    make = cells._make

    def counted(spec: Any, *rest: Any) -> Any:
        made.append(spec.label)
        return make(spec, *rest)

    monkeypatch.setattr(cells, "_make", counted)
    result = run(make_grid("erm+dfr,erm,erm+dfr:refits=2"), tmp_path)
    assert made == ["erm", "erm+dfr", "erm+dfr:refits=2"]
    assert len(keys(tmp_path)) == len(result.cells) == 3


def test_a_chain_costs_what_its_parts_cost(tmp_path: Path, make_grid: MakeGrid) -> None:
    erm, both = (cell.ledger for cell in run(make_grid("erm,erm+dfr"), tmp_path).cells)
    assert both["steps"] == erm["steps"] == 3
    assert both["gradients"] == erm["gradients"] == 3 * 8
    assert erm["labels"] == {"train": 24}
    assert both["labels"] == {"train": 24, "holdout": 24}


def test_runs_in_two_folders_are_equal_bit_for_bit(tmp_path: Path, make_grid: MakeGrid) -> None:
    methods = "erm,erm+dfr,irm,group-dro,balanced:groups=label*color,logistic"
    results = [run(make_grid(methods), tmp_path / name, "performance,worst-group") for name in "ab"]
    assert keys(tmp_path / "a") == keys(tmp_path / "b")
    for path in (tmp_path / "a" / "cells").rglob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path
    for one, other in zip(results[0].cells, results[1].cells, strict=True):
        assert one.measurements == other.measurements
        assert one.records == other.records
        assert one.history == other.history


def test_seeds_differ_and_do_not_depend_on_how_many_there_are(tmp_path: Path, make_grid: MakeGrid) -> None:
    few, many = (run(make_grid(seeds=seeds), tmp_path / str(seeds)).cells for seeds in (1, 3))
    assert few[0].key == many[0].key
    assert few[0].records == many[0].records
    assert len({str(cell.records) for cell in many}) == 3


def test_a_killed_cell_is_resumed_from_its_last_full_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_grid: MakeGrid
) -> None:
    """Killed at step 4 of 6 with a checkpoint after every step, it makes two more and not six."""
    clean = run(make_grid(steps=6), tmp_path / "clean").cells[0]
    steps = interrupted(monkeypatch, at=4)
    with pytest.raises(KeyboardInterrupt):
        run(make_grid(steps=6), tmp_path / "killed")
    assert keys(tmp_path / "killed") == []
    resumed = run(make_grid(steps=6), tmp_path / "killed").cells[0]
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    assert resumed.records == clean.records
    assert resumed.history == clean.history
    assert resumed.ledger["steps"] == clean.ledger["steps"]
    name = f"cells/{clean.key}/model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int) -> list[int]:
    """Ctrl-C before update ``at``, once; the updates begun are listed. A full checkpoint follows every update."""
    from holdfast.training.trainer import _Loop

    steps: list[int] = []
    update, create = _Loop._update, Trainer.__init__

    def counted(loop: Any) -> None:
        steps.append(loop.done + 1)
        if steps.count(at) == 1 and steps[-1] == at:
            raise KeyboardInterrupt
        update(loop)

    monkeypatch.setattr(_Loop, "_update", counted)
    monkeypatch.setattr(Trainer, "__init__", lambda *a, **k: create(*a, **{**k, "checkpoint_seconds": 0.0}))
    return steps


def test_an_interrupted_run_keeps_the_cells_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_grid: MakeGrid
) -> None:
    with monkeypatch.context() as patch:
        fit = Trainer.fit
        calls: list[int] = []

        def third_fails(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return fit(*args, **kwargs)

        patch.setattr(Trainer, "fit", third_fails)
        with pytest.raises(KeyboardInterrupt):
            run(make_grid(seeds=4), tmp_path)
    assert len(keys(tmp_path)) == 2
    assert not list(tmp_path.glob("*/run.json"))
    again, clean = (run(make_grid(seeds=4), folder) for folder in (tmp_path, tmp_path / "clean"))
    assert [cell.records for cell in again.cells] == [cell.records for cell in clean.cells]


def test_another_rule_trains_nothing_and_may_choose_another_checkpoint(
    tmp_path: Path, make_grid: MakeGrid, no_training: Callable[[], None]
) -> None:
    hard = {"methods": "erm:optimizer.lr=0.05", "steps": 40, "scale": 5.0}
    selected = {"last": run(make_grid(select="last", **hard), tmp_path)}
    no_training()
    for rule in ("validation", "worst-group", "worst-environment", "oracle"):
        selected[rule] = run(make_grid(select=rule, **hard), tmp_path)
    assert len(keys(tmp_path)) == 1
    for rule, result in selected.items():
        assert result.rule == rule
        assert {m.selection for m in result.cells[0].measurements} == {rule}
        assert result.cells[0].selected == chosen(result, rule)
    assert len({result.cells[0].selected for result in selected.values()}) > 1


def chosen(result: RunResult, rule: str) -> int:
    """What a rule must select, worked out from the records alone."""
    records = result.cells[0].records
    steps = sorted({r.step for r in records})
    if rule == "last":
        return steps[-1]
    role = "test" if rule == "oracle" else "selection"
    part = {"oracle": (True, True), "worst-group": (True, False)}.get(rule, (False, True))
    worst = rule.startswith("worst")

    def merit(step: int) -> tuple[float, float, int]:
        seen = [r for r in records if r.step == step and r.role == role]
        pairs = [(r.score, -r.loss) for r in seen if (r.environment is None, r.group is None) == part]
        score, loss = min(pairs) if worst else tuple(np.mean(pairs, axis=0))
        return score, loss, -step

    return max(steps, key=merit)


@pytest.mark.parametrize(("rule", "oracle"), [("oracle", True), ("validation", False)])
def test_an_oracle_is_marked_in_the_result_and_in_every_cell(
    tmp_path: Path, make_grid: MakeGrid, rule: str, oracle: bool
) -> None:
    result = run(make_grid(select=rule), tmp_path)
    assert result.rule_oracle is oracle
    assert summarise(result).as_dict()["rule_oracle"] is oracle
    assert any("looks at test rows" in warning for warning in result.warnings) is oracle


def test_notes_of_every_fold_are_told_once(make_grid: MakeGrid) -> None:
    (fold,) = make_grid().folds
    notes = {
        "north": ("5 rows left out", "'x' is constant"),
        "south": ("7 rows left out", "no training row is of class 'c'"),
    }
    folds = [
        dataclasses.replace(fold, name=name, data=dataclasses.replace(fold.data, notes=of_fold))
        for name, of_fold in notes.items()
    ]
    told = summary_of(folds).notes
    assert told[:3] == (
        "5 rows left out",
        "'x' is constant (where north is held out)",
        "no training row is of class 'c' (where south is held out)",
    )
    assert summary_of(folds[:1]).notes == notes["north"]


def test_environments_of_few_tested_rows_are_named(tmp_path: Path, make_grid: MakeGrid) -> None:
    warnings = run(make_grid(), tmp_path).warnings
    assert any("few rows on test" in warning and "'north' (12), 'south' (12)" in warning for warning in warnings)
    assert any(warning.startswith("1 seed: no method") for warning in warnings)


def test_a_chain_goes_on_from_the_checkpoint_that_the_rule_selects(tmp_path: Path, make_grid: MakeGrid) -> None:
    """The rule decides the repaired model: under another rule the chain is another cell, its prefix is not."""
    results = [run(make_grid("erm,erm+dfr", select=rule, steps=12), tmp_path) for rule in ("last", "oracle")]
    prefixes, chains = zip(*([cell.key for cell in result.cells] for result in results), strict=True)
    assert len(set(prefixes)) == 1
    assert len(set(chains)) == 2


def test_a_run_is_read_from_its_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_grid: MakeGrid
) -> None:
    grid = make_grid("erm,logistic", seeds=2)
    folder = run_grid(grid, tmp_path / "here", evaluations_of("performance"), command="x")
    shutil.move(tmp_path / "here", tmp_path / "there")
    result = read_run(tmp_path / "there" / folder.name)
    assert [(cell.method, cell.seed) for cell in result.cells] == [(m, s) for m in ("erm", "logistic") for s in (0, 1)]
    monkeypatch.chdir(tmp_path / "there" / folder.name)
    assert summarise(read_run(Path())).as_dict() == summarise(result).as_dict()


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "1", '{"task": 3}'])
def test_a_damaged_record_of_a_run_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_whose_cells_are_gone_is_one_line(tmp_path: Path, make_grid: MakeGrid) -> None:
    folder = run_grid(make_grid(), tmp_path, evaluations_of("performance"), command="x")
    shutil.rmtree(tmp_path / "cells")
    with pytest.raises(UserError, match="put the folder back beside its cells, or run its command again"):
        read_run(folder)


def test_a_method_whose_needs_the_task_cannot_meet_is_refused_before_training(
    tmp_path: Path, make_grid: MakeGrid, no_training: Callable[[], None]
) -> None:
    no_training()
    refused: Sequence[tuple[str, str]] = [
        ("dfr", r"dfr repairs a model: write .*erm\+dfr"),
        ("erm,erm+irm+dfr:groups=ward", "unknown column 'ward'"),
        ("group-dro:groups=label*colour", "unknown column 'colour': did you mean 'color'"),
    ]
    for methods, message in refused:
        with pytest.raises(UserError, match=message):
            run(make_grid(methods), tmp_path)
    with pytest.raises(UserError, match=r"needs rows in role 'selection'.*--select last"):
        run(without(make_grid(), "selection"), tmp_path)
    assert not list(tmp_path.iterdir())


def without(grid: Grid, role: str) -> Grid:
    (fold,) = grid.folds
    splits = tuple(split for split in fold.data.splits if split.role != role)
    return dataclasses.replace(
        grid, folds=(dataclasses.replace(fold, data=dataclasses.replace(fold.data, splits=splits)),)
    )


def test_evaluations_of_another_kind_of_task_are_left_out(tmp_path: Path, make_grid: MakeGrid) -> None:
    class ForNumbers(Evaluation):
        kinds = ("regression",)

    grid = make_grid()
    assert read_run(run_grid(grid, tmp_path, [ForNumbers()], command="x")).cells[0].measurements == ()


def test_the_record_of_a_run_is_plain_json(tmp_path: Path, make_grid: MakeGrid) -> None:
    folder = run_grid(make_grid(), tmp_path, evaluations_of("performance"), command="holdfast run tiny")
    content = json.loads((folder / "run.json").read_text())
    assert content["command"] == "holdfast run tiny"
    assert content["trials"] == {"erm": 1}
    assert [cell["seed"] for cell in content["cells"]] == [0]


@pytest.mark.parametrize("methods", ["erm", "erm+dfr", "erm+irm", "logistic", "balanced:groups=color"])
def test_a_run_in_double_precision_keeps_double_weights(tmp_path: Path, make_grid: MakeGrid, methods: str) -> None:
    grid = dataclasses.replace(make_grid(methods), numerics=Numerics(precision="64-true"))
    (cell,) = run(grid, tmp_path).cells
    assert cell.measurements
    kept = CellStore(tmp_path / "cells").get(cell.key)
    if kept.is_module:
        assert {weight.dtype for weight in kept.weights(None).values()} == {torch.float64}
    single = run(make_grid(methods), tmp_path / "single").cells[0]
    losses = np.array([[record.loss for record in result.records] for result in (cell, single)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert kept.is_module is bool((losses[0] != losses[1]).any())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("inference", [None, Errors(first=0.5)])
def test_a_graphics_card_makes_the_same_cells(
    tmp_path: Path, make_grid: MakeGrid, inference: GroupInference | None
) -> None:
    grid = dataclasses.replace(make_grid("erm,erm+dfr,group-dro"), inference=inference)
    here, there = (
        run(dataclasses.replace(grid, numerics=Numerics(device=device)), tmp_path / device)
        for device in ("cpu", "cuda")
    )
    for one, other in zip(here.cells, there.cells, strict=True):
        values = [[m.value for m in cell.measurements if m.unit != "second"] for cell in (one, other)]
        assert values[0] == pytest.approx(values[1], abs=0.1)
