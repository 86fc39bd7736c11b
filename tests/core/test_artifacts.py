from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.artifacts import Artifact, Curve, ImageGrid, Matrix, Table, from_json, to_json

numbers = st.floats(allow_nan=False)
fractions = st.floats(0.0, 1.0)
points = st.lists(numbers, max_size=3).map(tuple)
names = st.text(max_size=5)
cells = st.none() | st.booleans() | st.integers() | numbers | names
artifacts: st.SearchStrategy[Artifact] = st.one_of(
    st.builds(
        Table,
        name=names,
        columns=st.just(("a", "b")),
        rows=st.lists(st.tuples(cells, cells), max_size=3).map(tuple),
        caption=names,
    ),
    st.builds(
        Curve,
        name=names,
        series=st.dictionaries(names, st.tuples(points, points), max_size=3),
        x_label=names,
        y_label=names,
        log_x=st.booleans(),
        caption=names,
    ),
    st.builds(
        Matrix,
        name=names,
        values=st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple),
        rows=st.lists(names, max_size=3).map(tuple),
        columns=st.just(("p", "q")),
        x_label=names,
        y_label=names,
        caption=names,
    ),
    st.builds(
        ImageGrid,
        name=names,
        images=st.lists(st.tuples(st.tuples(st.tuples(fractions, fractions, fractions))), max_size=2).map(tuple),
        captions=st.lists(names, max_size=2).map(tuple),
        columns=st.integers(1, 10),
        caption=names,
    ),
)


@given(artifacts)
def test_artifacts_read_back_from_json(artifact: Artifact) -> None:
    again = from_json(json.loads(json.dumps(to_json(artifact))))
    assert type(again) is type(artifact)
    assert again == artifact


class Page(HTMLParser):
    """What a browser finds: the tags, and every text and attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.texts += [value or "" for _, value in attrs]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


SPITE = "<script>alert('x')</script> & $x$"
SPITEFUL = (
    Table(SPITE, (SPITE, "n"), ((SPITE, 1), ("b", 0.123456)), SPITE),
    Curve(SPITE, {SPITE: ((0.0, 1.0), (0.0, 2.0)), "b": ((0.0,), (1.0,))}, SPITE, SPITE),
    Matrix(SPITE, ((0.0, float("nan")), (-1.0, 1.0)), (SPITE, "b"), (SPITE, "q"), SPITE, SPITE),
    ImageGrid(SPITE, ((((0.0, 0.5, 2.0),),),), (SPITE,), columns=3),
)


@pytest.mark.parametrize("artifact", SPITEFUL, ids=lambda artifact: type(artifact).__name__)
def test_drawings_are_well_formed_and_escape_what_users_wrote(artifact: Artifact) -> None:
    drawn = artifact.to_html()
    page = Page(drawn)
    assert page.open == []
    assert "script" not in page.tags
    assert any(SPITE in text for text in page.texts)


def test_a_table_shows_three_digits() -> None:
    drawn = SPITEFUL[0].to_html()
    assert "0.123" in drawn
    assert "0.1235" not in drawn


@pytest.mark.parametrize(
    "artifact",
    [
        Table("t", ("a",), ()),
        Curve("c", {}, "x", "y", log_x=True),
        ImageGrid("i", (), ()),
    ],
    ids=lambda artifact: type(artifact).__name__,
)
def test_empty_artifacts_draw(artifact: Artifact) -> None:
    assert Page(artifact.to_html()).open == []
