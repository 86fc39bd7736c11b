"""The summary on a terminal."""

from __future__ import annotations

import dataclasses
import io
import runpy
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from holdfast.experiments.summary import summarise
from holdfast.reports.terminal import print_summary

make_run = runpy.run_path(str(Path(__file__).with_name("synthetic.py")))["make_run"]
FEW = {"erm": 0.6, "balanced": 0.8}


def printed(run, width=80, encoding="utf-8", **options):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    print_summary(summarise(run), Console(file=stream, width=width, highlight=False, **options))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.fixture(scope="module")
def text():
    return printed(make_run())


def test_values_intervals_verdicts_and_findings(text):
    lines = [line.split() for line in text.splitlines()]
    assert ["erm", "57.1", "99.7", "baseline"] in lines
    assert ["balanced", "82.0", "99.9", "better"] in lines
    difference = summarise(make_run()).against_baseline("balanced", "test").difference
    assert f"+24.8 [{100 * difference.low:.1f}, {100 * difference.high:.1f}]" in text
    assert "• balanced beats erm on test by 24.8 points" in text
    assert "95 % intervals over 5 seeds; selected by validation" in text
    assert "also measured:" in text


@pytest.mark.parametrize("width", [80, 100, 160, 40])
def test_no_line_is_wider_than_the_terminal(width):
    methods = {"erm": 0.6, "a-method-with-a-long-name:option=0.123456789:other=yes+dfr": 0.7}
    for line in printed(make_run("regression", methods), width).splitlines():
        assert cell_len(line.rstrip()) <= width


def test_there_is_no_color_without_a_terminal_and_color_on_one(text):
    assert "\x1b" not in text
    assert "\x1b[32m" in printed(make_run(), force_terminal=True, color_system="standard", no_color=False)


def test_names_are_neither_markup_nor_control_codes():
    text = printed(make_run(methods={"[red]erm[/red]": 0.6, "b\x1b[31m": 0.8, "[/]": 0.7}))
    assert "[red]erm[/red]" in text
    assert "[/]" in text
    assert "\x1b" not in text


def test_an_encoding_without_the_characters_is_served():
    text = printed(make_run(), encoding="ascii")
    assert "-1.0 [-" in text
    assert "?" not in text


def test_missing_numbers_and_an_oracle_are_marked():
    run = make_run("regression", FEW, broken="balanced", rule="oracle", rule_oracle=True)
    text = printed(dataclasses.replace(run))
    assert ["balanced", "–", "–", "undecided"] in [line.split() for line in text.splitlines()]
    assert "test†" in text
    assert "† an oracle that looks at test rows" in " ".join(text.split())


def test_notes_on_the_data_and_warnings_are_told():
    run = make_run(methods=FEW)
    many = tuple(f"column {k} is constant" for k in range(20))
    text = printed(dataclasses.replace(run, task=dataclasses.replace(run.task, notes=many), warnings=("few rows",)))
    assert "Data and warnings" in text
    assert "• column 0 is constant" in text
    assert "column 19" not in text
    assert "9 more in the report" in text
    quiet = dataclasses.replace(run, task=dataclasses.replace(run.task, notes=()), warnings=())
    assert "Data and warnings" not in printed(quiet)
    assert "• few rows" in printed(dataclasses.replace(quiet, warnings=("few rows",)))
