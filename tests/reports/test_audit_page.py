"""The page of an audit: the answer first, every question a section, and what a user wrote stays text."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.core.artifacts import Matrix, Table
from holdfast.core.evaluation import Finding, Measurement, Result
from holdfast.experiments.audit import QUESTIONS, Audit, Subject
from holdfast.reports.audit_page import render_audit, write_audit

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def audit_of(name: str = "scanner") -> Audit:
    alarm = Finding(name, f"The model relies on {name!r}.", alarm=True)
    accuracy = Measurement("accuracy", 0.81, "data", 100, low=0.7, high=0.9)
    lines = Table("contributions", ("part", "points"), ((name, 12.5),))
    matrix = Matrix("overview", ((12.5, -3.0),), (name,), ("A", name))
    return Audit(
        subject=Subject(f"model {name}", f"data {name}", f"holdfast audit {name}"),
        kind="classification",
        rows={"A": 60, name: 1040},
        notes=(f"note {name}",),
        pictures=(Table("sizes", ("n",), ((1,),)),),
        results={
            "performance": Result((accuracy,)),
            "reliance": Result((), (matrix, lines), (alarm,)),
            "matched-pairs": Result(),
        },
        seconds={"performance": 0.1},
        provenance={"machine": "Linux"},
    )


def test_the_answer_comes_first_and_every_evaluation_has_its_section() -> None:
    page = render_audit(audit_of())
    lead = page.index("It is right in 81.0 % [70.0, 90.0] on 1,100 rows")
    assert lead < page.index("Alarm.</strong> The model relies on &#39;scanner&#39;.") < page.index("<section")
    assert re.findall(r'<section id="([\w-]+)">', page)[:3] == ["performance", "reliance", "matched-pairs"]
    assert QUESTIONS["reliance"] in page
    assert "Nothing to say" in page
    assert "1,040" in page


def test_what_a_user_wrote_stays_text() -> None:
    page = render_audit(audit_of(EVIL))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_numbers_without_a_drawing_become_a_table() -> None:
    page = render_audit(audit_of())
    section = page[page.index('<section id="performance">') : page.index('<section id="reliance">')]
    assert "accuracy" in section
    assert "0.81" in section


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    path = write_audit(audit_of(), tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render_audit(audit_of())
