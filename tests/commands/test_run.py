"""``holdfast run``, ``sweep``, ``list``, ``show``, ``report``: what they print and what they write."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from holdfast.core.registry import PACKAGES, plugins
from holdfast.experiments import costs
from holdfast.training import Trainer

Call = Callable[..., Any]
Tree = Callable[[], dict[str, int]]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes whatever trains afterwards fail."""
    return lambda: monkeypatch.setattr(Trainer, "__init__", lambda *_, **__: pytest.fail("trained again"))


def strict(text: str) -> Any:
    """JSON as its standard has it: NaN and Infinity are refused."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_run_prints_its_result_and_where_the_report_is(run: Call) -> None:
    called = run()
    assert (called.code, called.err) == (0, "")
    report = Path(re.findall(r"^report: (.*)$", called.out, re.MULTILINE)[0])
    assert "holdfast run spirals-shortcuts" in report.read_text()
    assert "erm" in called.out


def test_json_is_all_there_is_on_stdout(run: Call) -> None:
    called = run("--json")
    content = strict(called.out)
    assert called.err == ""
    assert Path(content["report"]).exists()
    assert content["trials"] == {"erm": 1}
    assert content["rule"] == "validation"


def test_the_same_command_again_gives_the_same_and_trains_nothing(run: Call, no_training: Callable[[], None]) -> None:
    first = run("--json", seeds=2)
    no_training()
    assert run("--json", seeds=2) == first


def test_seeds_and_methods_are_added_to_what_is_there(run: Call) -> None:
    run()
    before = {path: path.stat().st_mtime_ns for path in Path("runs/cells").glob("*/model.safetensors")}
    run(method="erm,irm", seeds=2)
    after = {path: path.stat().st_mtime_ns for path in Path("runs/cells").glob("*/model.safetensors")}
    assert len(after) == 4
    assert before.items() <= after.items()


@pytest.mark.parametrize("select", ["last", "worst-environment", "oracle"])
def test_another_rule_trains_nothing(run: Call, no_training: Callable[[], None], select: str) -> None:
    run()
    no_training()
    content = run("--select", select, "--json").json
    assert content["rule"] == select
    assert content["rule_oracle"] is (select == "oracle")


def test_an_oracle_is_marked_in_words_everywhere(run: Call) -> None:
    called = run("--select", "oracle")
    page = Path(re.findall(r"^report: (.*)$", called.out, re.MULTILINE)[0]).read_text()
    assert "oracle" in called.out
    assert "looks at test rows" in page
    plain = run("--select", "validation")
    page = Path(re.findall(r"^report: (.*)$", plain.out, re.MULTILINE)[0]).read_text()
    assert "looks at test rows" not in plain.out + page


def test_a_dry_run_lists_the_cells_and_writes_nothing(run: Call, tree: Tree) -> None:
    called = run("--dry-run", "--json", seeds=2, method="erm,irm")
    assert tree() == {}
    cells = strict(called.out)["cells"]
    assert [(cell["method"], cell["seed"]) for cell in cells] == [("erm", 0), ("erm", 1), ("irm", 0), ("irm", 1)]
    assert not any(cell["finished"] for cell in cells)
    run()
    before = tree()
    again = run("--dry-run", seeds=2, method="erm,irm")
    assert "\n4 cells, 3 to do\nabout " in again.out
    assert tree() == before
    assert {path.name for path in Path("runs/cells").iterdir()} == {cells[0]["cell"]}


def test_a_dry_run_counts_the_networks_that_groups_are_inferred_from(run: Call) -> None:
    words = ("--dry-run", "--json", "--infer-groups", "errors")
    plan = run(*words, seeds=2, method="erm,group-dro,logistic", steps=40).json
    # Two methods look at environments: one reference of each seed serves both.
    assert [(c["method"], c["steps"]) for c in plan["cells"][:2]] == [("pooled", 4), ("pooled", 4)]
    assert [c["method"] for c in plan["cells"][2:]] == ["erm"] * 2 + ["group-dro"] * 2 + ["logistic"] * 2
    assert {c["method"]: c["cells"] for c in plan["cost"]["methods"]} == dict.fromkeys(
        ("pooled", "erm", "group-dro", "logistic"), 2
    )


def test_a_dry_run_estimates_the_cost_of_what_is_left(run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(fold: Any, spec: Any, root: Path, evaluations: Any) -> tuple[float, float]:
        return 0.5 + 0.01 * spec.budget.amount, 1e6

    monkeypatch.setattr(costs, "_short", short)  # seconds that no machine disturbs
    task = "colored-digits"
    cost = run("--dry-run", "--json", task=task, method="erm,erm+dfr:groups=label", steps=1000, seeds=3).json["cost"]
    assert [(c["method"], c["cells"]) for c in cost["methods"]] == [("erm", 3), ("erm+dfr:groups=label", 3)]
    assert cost["methods"][0]["seconds_a_cell"] == pytest.approx(10.5)
    assert (cost["seconds"], cost["bytes"]) == (pytest.approx(63), 6e6)
    run(task=task, steps=30)
    left = run("--dry-run", "--json", "--executor", "processes:workers=2", task=task, steps=30, seeds=3).json["cost"]
    assert [(c["method"], c["cells"]) for c in left["methods"]] == [("erm", 2)]
    assert (left["workers"], left["seconds"]) == (2, pytest.approx(0.8))
    assert "about 0.8 s in one process" in run("--dry-run", task=task, steps=30, seeds=2).out
    assert run("--dry-run", task=task, steps=30).out.endswith("1 cell, 0 to do\n")


def test_a_dry_run_measures_short_trainings_and_leaves_nothing(run: Call, tree: Tree) -> None:
    methods = "erm,logistic,erm+dfr:groups=label,erm:optimizer=SGD:optimizer.lr=1e30"
    cost = run("--dry-run", "--json", task="colored-digits", method=methods, steps=30).json["cost"]
    assert tree() == {}
    seconds = [c["seconds_a_cell"] for c in cost["methods"]]
    assert all(value > 0 for value in seconds[:3])
    assert seconds[3] is None
    assert cost["seconds"] == pytest.approx(sum(seconds[:3]))


def test_progress_is_shown_on_stderr_where_that_is_a_terminal(run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    write = type(sys.stderr).isatty
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: self is sys.stderr or write(self))
    called = run("--json")
    strict(called.out)
    assert called.err != ""
    assert run("--json", "--quiet").err == ""


def test_what_libraries_tell_of_their_progress_is_not_shown(run: Call) -> None:
    assert run("--precision", "bf16-mixed").err == ""


def test_few_seeds_are_warned_of_in_the_result(run: Call) -> None:
    assert any("under five" in warning for warning in run("--json").json["warnings"])


def test_a_table_file_becomes_a_report_with_its_baselines(call: Call, patients: pd.DataFrame) -> None:
    patients.to_parquet("patients.parquet")
    words = ("--label", "died", "--environment", "ward", "--method", "erm", "--steps", 2, "--seeds", 1)
    called = call("run", "patients.parquet", *words, "--evaluate", "performance", "--json")
    assert called.code == 0, called.err
    content = strict(called.out)
    assert content["methods"] == ["erm", "logistic", "gradient-boosting"]
    assert sorted(content["folds"]) == ["north", "south"]
    cells = {path.name for path in Path("runs/cells").iterdir()}
    Path("elsewhere").mkdir()
    shutil.move("patients.parquet", "elsewhere/renamed.parquet")
    assert call("run", "elsewhere/renamed.parquet", *words, "--evaluate", "performance").code == 0
    assert {path.name for path in Path("runs/cells").iterdir()} == cells, "where a file lies decides no number"


def test_a_sweep_tries_the_default_first_and_says_how_many(call: Call) -> None:
    words = ["--method", "erm", "--steps", 2, "--seeds", 1, "--evaluate", "performance", "--trials", 3]
    task = "spirals-shortcuts:environments=2:rows_per_environment=16:test_rows=16"
    content = strict(call("sweep", task, *words, "--dry-run", "--json").out)
    plan, final = content["cells"], content["final"]
    assert final == [], "the first seed of the best setting was trained by the search"
    assert plan[0]["method"] == "erm"
    assert len({cell["cell"] for cell in plan}) == 3
    assert not Path("runs").exists()
    content = strict(call("sweep", task, *words, "--json").out)
    assert list(content["trials"].values()) == [3]
    (searched,) = content["sweep"]
    scores = {trial["setting"]: trial["score"] for trial in searched["trials"]}
    assert list(scores) == [cell["method"] for cell in plan]
    assert searched["method"] == "erm"
    assert searched["best"] == max(scores, key=lambda setting: scores[setting])
    called = call("sweep", task, *words)
    assert re.search(r"best of 3 trials: erm\S* \([\d.]+\)", called.out)
    assert {cell["cell"] for cell in plan} <= {path.name for path in Path("runs/cells").iterdir()}


@pytest.mark.parametrize("sampler", ["random", "sobol", "optuna"])
def test_every_sampler_tries_other_settings_and_the_same_ones_again(call: Call, sampler: str) -> None:
    if sampler == "optuna":
        pytest.importorskip("optuna", reason="optuna is an extra")
    words = ["--method", "erm", "--steps", 2, "--seeds", 1, "--evaluate", "performance", "--trials", 3]
    task = "spirals-shortcuts:environments=2:rows_per_environment=16:test_rows=16"
    called = call("sweep", task, *words, "--sampler", sampler, "--json")
    assert (called.code, called.err) == (0, "")
    (searched,) = strict(called.out)["sweep"]
    assert len({trial["setting"] for trial in searched["trials"]}) == 3
    cells = {path.name for path in Path("runs/cells").iterdir()}
    again = strict(call("sweep", task, *words, "--sampler", sampler, "--json").out)["sweep"]
    assert again == [searched]
    assert {path.name for path in Path("runs/cells").iterdir()} == cells
    assert call("sweep", task, *words, "--sampler", sampler, "--dry-run").code == 0


def test_a_dry_sweep_of_optuna_knows_the_first_setting_alone(call: Call) -> None:
    pytest.importorskip("optuna", reason="optuna is an extra")
    task = "spirals-shortcuts:environments=2:rows_per_environment=16:test_rows=16"
    words = ["sweep", task, "--method", "erm", "--steps", 2, "--seeds", 1, "--trials", 9, "--dry-run"]
    lines = call(*words, "--sampler", "optuna").out.splitlines()
    assert "1 cell, 1 to do" in lines
    assert "then  8 settings of each method at most, by the scores of those before" in lines


def test_seconds_of_training_end_a_sweep(call: Call) -> None:
    task = "spirals-shortcuts:environments=2:rows_per_environment=16:test_rows=16"
    words = ["--method", "erm", "--steps", 2, "--seeds", 1, "--evaluate", "performance", "--trials", 9]
    content = strict(call("sweep", task, *words, "--seconds", "1e-6", "--json").out)
    assert list(content["trials"].values()) == [1]


def test_a_dry_sweep_shows_what_runs_after_the_search(call: Call) -> None:
    task = "spirals-shortcuts:environments=2:rows_per_environment=16:test_rows=16"
    words = ["sweep", task, "--method", "erm,irm", "--steps", 2, "--seeds", 3, "--trials", 2, "--dry-run"]
    final = strict(call(*words, "--json").out)["final"]
    assert [(cell["method"], cell["seed"]) for cell in final] == [("erm", 1), ("erm", 2), ("irm", 1), ("irm", 2)]
    lines = call(*words).out.splitlines()
    assert "4 cells, 4 to do" in lines
    assert "then  seed 2  the best of irm" in lines
    assert lines[-1] == "4 cells after the search"
    assert not Path("runs").exists()


def test_a_failed_trial_is_a_warning_in_one_line(call: Call) -> None:
    words = ["--steps", 2, "--seeds", 1, "--evaluate", "performance", "--trials", 3, "--json"]
    task = "spirals-shortcuts:environments=2:rows_per_environment=16:test_rows=16"
    called = call("sweep", task, "--method", "erm:optimizer.lr=.inf", *words)
    assert called.code == 0
    assert called.err.startswith(
        "holdfast: warning: trial erm:optimizer.lr=.inf with seed 0 failed: the loss is not finite"
    )
    assert called.err.count("\n") == 1
    strict(called.out)


def test_a_method_that_diverges_does_not_take_the_others_along(run: Call) -> None:
    called = run("--json", method="erm,erm:optimizer=SGD:optimizer.lr=1e30", steps=20)
    assert called.code == 1
    (failure,) = called.json["failures"]
    assert "optimizer.lr=1e+30" in failure
    assert "not finite" in failure
    assert called.err == f"holdfast: {failure}\n"
    whole = next(score for score in called.json["scores"] if score["method"] == "erm" and score["split"] == "test")
    assert whole["estimate"]["value"] is not None
    assert "not finite" in Path(called.json["report"]).read_text(encoding="utf-8")


def test_a_run_that_diverges_fails_in_one_line(run: Call) -> None:
    called = run(method="erm:optimizer.lr=.inf")
    assert called.code == 1
    assert called.err.startswith("holdfast: every training failed; the first: ")
    assert "the loss is not finite at step " in called.err
    assert called.err.count("\n") == 1


@pytest.mark.parametrize("family", PACKAGES)
def test_list_names_every_plug_in_with_a_sentence(call: Call, family: str) -> None:
    content = strict(call("list", family + "s", "--json").out)
    assert [entry["name"] for entry in content[family + "s"]] == list(plugins(family))
    assert all(entry["summary"].endswith(".") for entry in content[family + "s"])
    text = call("list", family).out
    assert all(f"  {name} " in text for name in plugins(family))


def test_list_without_a_family_names_all(call: Call) -> None:
    content = strict(call("list", "--json").out)
    assert {family: len(entries) for family, entries in content.items()} == {
        family + "s": len(plugins(family)) for family in PACKAGES
    }


def test_list_says_where_cells_are_listed(call: Call) -> None:
    assert "holdfast list cells" in call("list").out
    assert "holdfast list cells" not in call("list", "methods").out


def test_list_cells(call: Call, run: Call, tree: Tree) -> None:
    assert call("list", "cells").out == "no finished cells in runs\n"
    assert strict(call("list", "cells", "--json").out) == {"cells": []}
    assert tree() == {}
    run(method="erm,irm")
    cells = strict(call("list", "cells", "--json").out)["cells"]
    assert {cell["method"] for cell in cells} == {"erm", "irm"}
    assert all(cell["cell"] in call("list", "cells").out for cell in cells)


@pytest.mark.parametrize("name", [name for family in PACKAGES for name in plugins(family)])
def test_show_prints_every_plug_in(call: Call, name: str) -> None:
    content = strict(call("show", name, "--json").out)
    entry = content if "name" in content else content["plugins"][0]
    assert (entry["name"], entry["version"] >= 1) == (name, True)
    text = call("show", name).out
    assert all(f"  {option['name']}=" in text for option in entry["options"])


def test_show_tells_the_range_and_the_search_space(call: Call) -> None:
    threshold = next(o for o in strict(call("show", "and-mask", "--json").out)["options"] if o["name"] == "threshold")
    assert (threshold["default"], threshold["range"]) == (1.0, "[0, 1]")
    assert threshold["search"].startswith("Uniform")


def test_show_writes_options_as_they_are_typed(call: Call) -> None:
    lines = call("show", "erm").out.splitlines()
    assert "  optimizer=Adam  (Adam or AdamW or SGD or AndAdam)" in lines
    assert any(line.startswith("  optimizer.lr=0.001  (a number, in [0, inf], searched over ") for line in lines)
    assert "  optimizer.momentum=0.0  (a number, in [0, 1], only with optimizer=SGD)" in lines
    lines = call("show", "table").out.splitlines()
    assert "  path=VALUE  (text, required)" in lines
    assert "  unit=null  (text or null)" in lines
    assert "  group_features=false  (true or false)" in lines


def test_show_as_json_tells_required_options_from_those_without_a_value(call: Call) -> None:
    options = {option["name"]: option for option in strict(call("show", "table", "--json").out)["options"]}
    assert (options["path"]["required"], options["path"]["default"]) == (True, None)
    assert (options["unit"]["required"], options["unit"]["default"]) == (False, None)


def test_show_a_cell_by_the_beginning_of_its_hash(call: Call, run: Call) -> None:
    run()
    (cell,) = Path("runs/cells").iterdir()
    content = strict(call("show", cell.name[:6], "--json").out)
    assert content["cell"] == cell.name
    assert content["spec"] == json.loads((cell / "spec.json").read_text())
    assert content["kept_steps"] == [0, 1, 2, 3]
    assert content["ledger"]["steps"] == 3
    assert call("show", cell.name).out.startswith(f"{cell.name}  erm on spirals-shortcuts")


def test_a_report_is_made_again_from_the_files(call: Call, run: Call, no_training: Callable[[], None]) -> None:
    first = run("--json")
    report = Path(first.json["report"])
    page = report.read_text()
    report.unlink()
    no_training()
    assert call("report", report.parent, "--json").json == first.json
    assert report.read_text() == page


def test_a_report_is_made_from_within_its_folder(call: Call, run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(run("--json").json["report"]).parent
    monkeypatch.chdir(folder)
    assert call("report", ".").code == 0


def test_a_run_apart_from_its_cells_is_one_line(call: Call, run: Call) -> None:
    folder = Path(run("--json").json["report"]).parent
    shutil.move(folder, "moved")
    called = call("report", "moved")
    assert called.code == 2
    assert "of moved is not in " in called.err
    assert "beside its cells" in called.err
    assert called.err.count("\n") == 1
