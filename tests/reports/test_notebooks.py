"""What a notebook shows of cells, numbers, results, audits and summaries: small, and everything of a user's escaped."""

from __future__ import annotations

from pathlib import Path

from tests.reports.synthetic import make_run
from tests.reports.test_audit_page import EVIL, audit_of

from holdfast.core.artifacts import Matrix, Table
from holdfast.core.evaluation import Finding, Measurement, Result
from holdfast.core.method import Method
from holdfast.core.registry import create
from holdfast.core.task import Task
from holdfast.experiments.cells import finish_cell
from holdfast.experiments.grid import Grid, load_folds
from holdfast.experiments.store import CellStore
from holdfast.experiments.summary import summarise
from holdfast.training import Budget, SelectionRule


def test_a_measurement_is_a_line() -> None:
    shown = Measurement("accuracy", 0.8125, "test", 64, low=0.7, group=EVIL)._repr_html_()
    assert "0.812" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_an_artifact_has_its_name_and_caption() -> None:
    shown = Table(EVIL, ("a",), ((1,),), "what it says")._repr_html_()
    assert "what it says" in shown
    assert "<script" not in shown
    assert "<table" in Matrix("m", ((1.0,),), ("r",), ("c",))._repr_html_()


def test_a_result_has_its_findings_first() -> None:
    table = Table("numbers of it", ("a",), ((1,),))
    shown = Result((), (table,), (Finding("x", f"It relies on {EVIL}."),))._repr_html_()
    assert shown.index("It relies on") < shown.index("numbers of it")
    assert "<script" not in shown
    assert "0.5" in Result((Measurement("accuracy", 0.5, "test", 2),))._repr_html_()
    assert Result()._repr_html_() == ""


def test_an_audit_and_a_summary_begin_with_the_answer() -> None:
    shown = audit_of(EVIL)._repr_html_()
    assert shown.startswith("<ul><li>It is right in 81.0 %")
    assert "<script" not in shown
    summary = summarise(make_run())
    assert summary.findings[0].split(":")[0] in summary._repr_html_()
    assert "<td>group-dro</td>" in summary._repr_html_()


def test_a_cell_says_what_it_is(tmp_path: Path) -> None:
    grid = Grid(
        folds=load_folds(create(Task, "linreg-patchwork")),
        chains=((create(Method, "erm"),),),
        seeds=(7,),
        rule=create(SelectionRule, "last"),
        budget=Budget(3),
    )
    ((fold, spec),) = grid.specs()
    shown = finish_cell(spec, fold.data, CellStore(tmp_path))._repr_html_()
    for text in (spec.key, "erm", "linreg-patchwork", "7"):
        assert text in shown
