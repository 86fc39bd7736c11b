"""The pages tell the truth: their examples run, their links lead somewhere, and they know the folders of the code."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from holdfast import cli

ROOT = Path(__file__).parents[1]
PAGES = [str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md")))]
COMMANDS_RUN = {
    "docs/consistency.md",
    "docs/data-sets.md",
    "docs/debiasing.md",
    "docs/diverse-models.md",
    "docs/hard-to-vary.md",
    "docs/images.md",
    "docs/inferred-groups.md",
    "docs/interventions.md",
    "docs/quickstart.md",
    "docs/models.md",
    "docs/search.md",
    "docs/weights.md",
    "docs/tutorials/auditing-a-model.md",
    "docs/tutorials/own-table.md",
    "docs/tutorials/reading-a-report.md",
}


def run_commands(example: Example) -> None:
    """Run the lines ``$ holdfast …``; they succeed, or exit as a closing ``# exit CODE`` says."""
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        if line.startswith("$ holdfast "):
            stated = re.search(r"# exit (\d+)$", line)
            words = shlex.split(line.removeprefix("$ holdfast "), comments=True)
            said = io.StringIO()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
                code = cli.main(words)
            assert code == (int(stated[1]) if stated else 0), f"{line}\n{said.getvalue()}"


def parse(page: str) -> Document:
    parsers = [PythonCodeBlockParser(), SkipParser()]
    if page in COMMANDS_RUN:
        parsers.append(CodeBlockParser("console", run_commands))
    return Sybil(parsers).parse(ROOT / page)


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of a page run from top to bottom, in one folder and one namespace."""
    monkeypatch.chdir(tmp_path)
    for example in parse(page).examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_design_lists_every_folder() -> None:
    house = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    folders = [folder.parent.name for folder in ROOT.glob("src/holdfast/*/__init__.py")]
    assert [name for name in folders if f"\n  {name}/ " not in house] == []
