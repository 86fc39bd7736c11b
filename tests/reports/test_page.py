"""The report page: what stands on it, what never may, and that it is one file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import pytest

from holdfast.core.artifacts import Curve, Table
from holdfast.core.errors import HoldfastError
from holdfast.experiments.summary import summarise
from holdfast.reports import figures, page
from holdfast.reports.page import render, write_report

make_run = runpy.run_path(str(Path(__file__).with_name("synthetic.py")))["make_run"]

FEW = {"erm": 0.6, "balanced": 0.8}
SPITE = "<script>alert(1)</script>\"'> $x^{$ & {{ 7 * 7 }} --> ]]>"
HEADINGS = (
    "The question",
    "Results",
    "Who is worst",
    "What is lost",
    "Learning curves",
    "Other metrics",
    "Evaluations",
    "What was selected, and how",
    "Cost",
    "Warnings",
    "To make it again",
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page as a browser reads it; fails on elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.headings = [], [], [], [], []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data", "srcset")]
        assert not [k for k, _ in attrs if k.startswith("on")], "an event handler"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if not {"style", "script"} & set(self.open):
            self.text += data


def rendered(run):
    return render(run, summarise(run))


def percent(value):
    return f"{100 * value:.1f}".replace("-", "−")


def interval(estimate):
    return f"[{percent(estimate.low)}, {percent(estimate.high)}]"


@pytest.fixture(scope="module")
def run():
    return make_run()


@pytest.fixture(scope="module")
def text(run):
    return rendered(run)


def test_every_section_is_there_in_order(text):
    assert tuple(Page(text).headings) == HEADINGS


def test_the_answer_comes_first(run, text):
    findings = summarise(run).findings
    shown = Page(text).text
    assert shown.index(findings[0]) < shown.index(findings[1]) < shown.index(run.task.question)


def test_numbers_verdicts_costs_and_how_to_make_it_again_are_there(run, text):
    shown = " ".join(Page(text).text.split())
    summary = summarise(run)
    erm = summary.score("erm", "test").estimate
    better, undecided = (summary.against_baseline(m, "test").difference for m in ("balanced", "group-dro"))
    for what in (
        f"{percent(erm.value)} {interval(erm)}",
        f"▲ better +{percent(better.value)} {interval(better)}",
        f"○ undecided {percent(undecided.value)} {interval(undecided)} the interval contains 0",
        "Holm's p",
        "not used for selection",
        "It saw no test row",
        "2 of 2 training environments, 64 rows of each",
        "51,200",
        "train 826, holdout 140",
        run.command,
        run.warnings[0],
        run.task.notes[0],
        "2.13.0",
        run.cells[3].key,
    ):
        assert what in shown, what


def assert_own_script_only(text):
    """One script, the page's own, and the policy lets no other run."""
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert text.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in text
    assert len(script.encode()) < 3000


def test_the_page_needs_nothing_but_itself(text):
    found = Page(text)
    assert {"iframe", "object", "link", "form", "base"}.isdisjoint(found.tags)
    assert_own_script_only(text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in found.links)
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) <= namespaces
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text


def test_ids_are_unique_and_links_lead_somewhere(text):
    found = Page(text)
    assert len(found.ids) == len(set(found.ids))
    targets = {link[1:] for link in found.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert targets <= set(found.ids)


def test_equal_runs_give_equal_bytes(tmp_path, text):
    assert write_report(make_run(), tmp_path / "a.html").read_bytes() == text.encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def spiteful_run():
    """A run in which every text that a user could choose is hostile."""
    run = make_run(methods={SPITE: 0.6, "b" + SPITE: 0.8}, environments=(SPITE, "_x"), folds=(SPITE, "_y"))
    cells = []
    for cell in run.cells:
        scores = {k: dataclasses.replace(v, group_names=(SPITE, *v.group_names[1:])) for k, v in cell.scores.items()}
        bad = (
            Table(SPITE, (SPITE,), ((SPITE,),), SPITE),
            Curve(SPITE, {SPITE: ((0.0, 1.0), (0.0, 1.0)), "_": ((0.0,), (1.0,))}, SPITE, SPITE, caption=SPITE),
        )
        changes = {"key": SPITE, "provenance": {SPITE: {SPITE: SPITE}}, "ledger": {"labels": {SPITE: 3}}}
        cells.append(dataclasses.replace(cell, scores=scores, artifacts={SPITE: bad}, **changes))
    task = dataclasses.replace(
        run.task, reference=SPITE, question=SPITE, stable=SPITE, shortcut=SPITE, notes=(SPITE,), per_step=SPITE
    )
    return dataclasses.replace(run, command=SPITE, task=task, cells=tuple(cells), rule=SPITE, warnings=(SPITE,))


def test_what_a_user_wrote_is_text_and_nothing_else():
    text = rendered(spiteful_run())
    found = Page(text)
    assert_own_script_only(text)
    assert "49" not in re.findall(r"alert\(1\)[^<]*?(\d\d) --", text)  # a template in a name is not run
    assert found.text.count(SPITE) > 30


def test_bytes_that_are_no_text_and_characters_without_glyphs_do_not_stop_a_report(tmp_path):
    run = make_run(methods=FEW, environments=("日本", "\x1b[31m"), command="run caf\udce9.csv")
    assert "caf?.csv" in write_report(run, tmp_path / "r.html").read_text("utf-8")


def test_a_missing_method_and_a_diverged_one_are_shown_as_such():
    skip = [("balanced", seed, "") for seed in range(5)]
    run = make_run("regression", {**FEW, "gone": 0.7}, skip=skip, broken="gone")
    found = Page(rendered(run))
    assert "balanced has no seed that finished." in found.text
    assert "not a number" in found.text
    assert "no seed that both finished" in found.text
    assert "lower is better" in found.text
    assert "nan" not in found.text.lower().split()


def test_a_run_that_lacks_almost_everything_still_has_a_report():
    run = make_run(methods=FEW, seeds=2, environments=("all",))
    empty = {"records": (), "artifacts": {}, "provenance": {}, "ledger": {}, "measurements": ()}
    run = dataclasses.replace(run, cells=tuple(dataclasses.replace(c, **empty) for c in run.cells), trials={})
    found = Page(rendered(run))
    assert tuple(found.headings) == HEADINGS
    for told in ("No other metric was measured", "No evaluation left", "No method of this run has checkpoints"):
        assert told in found.text


def test_one_method_one_seed_and_only_training_rows():
    run = make_run(methods={"erm": 0.6}, seeds=1)
    cells = tuple(dataclasses.replace(c, scores={"train": c.scores["train"]}) for c in run.cells)
    found = Page(rendered(dataclasses.replace(run, cells=cells, warnings=())))
    assert "a loss cannot be measured" in found.text
    with pytest.raises(HoldfastError):
        write_report(dataclasses.replace(run, cells=()), Path("never.html"))


def test_an_oracle_is_marked_on_every_row_of_numbers(run):
    text = rendered(dataclasses.replace(run, rule="oracle", rule_oracle=True))
    for method in run.methods:
        assert text.count(f'<th scope="row">{method}†</th>') == 7  # results, drop, selection, worst of 4 splits
        assert f'<th scope="row">{method}</th>' not in text.split('<section id="cost">')[0]
    assert "upper bounds, not results" in text
    assert "used for selection by an oracle" in text
    assert "It saw no test row" not in text


def test_folds_are_told_and_their_steps_listed():
    run = make_run(methods=FEW, folds=("north", "south"), skip=[("balanced", 0, "north")])
    shown = " ".join(Page(rendered(run)).text.split())
    assert "2 folds" in shown
    assert "folds after each other: north / south" in shown
    assert "missing / 100" in shown
    assert "Environments of test" in shown


def test_methods_without_steps_have_no_panel_and_are_named():
    found = Page(rendered(make_run(methods={**FEW, "logistic": 0.6})))
    assert "Without checkpoints along the way: logistic." in found.text


def test_a_large_run_is_a_small_page():
    methods = {f"method-{k}:strength=0.{k}": 0.6 + 0.02 * k for k in range(10)}
    environments = tuple(f"environment {k}" for k in range(5))
    run = make_run(methods=methods, seeds=1, environments=environments)
    big = Table("big", ("a",), tuple((f"row {k} of a table that is far too long",) for k in range(2000)))
    cells = tuple(dataclasses.replace(c, artifacts={**c.artifacts, "big": (big,)}) for c in run.cells)
    text = rendered(dataclasses.replace(run, cells=cells))
    assert len(text.encode()) < 1_500_000
    assert "are left out to keep this page small" in text
    assert len(text) > page.ARTIFACT_BYTES


def test_many_groups_are_cut_and_many_environments_share_a_color():
    run = make_run(methods=FEW, seeds=2, environments=tuple(f"e{k}" for k in range(9)))
    cells = []
    for cell in run.cells:
        rows = cell.scores["test"]
        names = tuple(f"g{k}" for k in range(100))
        rows = dataclasses.replace(rows, group=rows.index % 100, group_names=names)
        cells.append(dataclasses.replace(cell, scores={**cell.scores, "test": rows}))
    found = Page(rendered(dataclasses.replace(run, cells=tuple(cells))))
    assert "the 24 worst of 100" in found.text
    assert "40 more are in the summary" in found.text
    assert "9 environments of selection" in found.text


def test_each_environment_has_a_color_and_each_split_a_dash():
    run = make_run(methods=FEW, folds=("north", "south"), environments=("north", "south", "east"))
    curves = figures.learning_curves(run, summarise(run))
    items = re.findall(r'<li( class="dashed")? style="--color:var\(--series-(\d)[^>]*>([^<]*)<', curves.legend)
    assert items == [("", "1", "north"), ("", "2", "south"), ("", "3", "east")]
    lines = re.findall(r'style="fill: none; (stroke-dasharray[^"]*)?stroke: var\(--series-(\d)', curves.panels["erm"])
    assert sorted((bool(dash), color) for dash, color in lines if color) == [
        (False, "1"), (False, "2"), (False, "3"), (True, "1"), (True, "2"),
    ]  # fmt: skip


def test_an_evaluation_says_of_which_seed_and_fold_it_is():
    shown = " ".join(Page(rendered(make_run(methods=FEW, folds=("north", "south")))).text.split())
    assert "erm seed 0, north held out" in shown
    assert "seed 0, " not in " ".join(Page(rendered(make_run(methods=FEW))).text.split())
