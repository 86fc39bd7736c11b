"""Reading tables: what users have, and what they give by mistake."""

from __future__ import annotations

import datetime
import decimal
import json
import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from holdfast.core.errors import UserError
from holdfast.tables import read_table, read_with_notes

PLAIN = pd.DataFrame({"age": [61, 48, 50], "ward": ["north", "süd", "Åse"], "weight": [70.5, None, 81.25]})


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_table(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_table_or_one_line(path: Path) -> None:
    try:
        frame = read_table(path)
    except UserError:
        complaint(path)
    else:
        assert len(frame) > 0
        assert frame.columns.is_unique


def written(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiter_encoding_and_line_ending_are_found_out(
    tmp_path: Path, delimiter: str, encoding: str, ending: str
) -> None:
    path = tmp_path / "t.csv"
    PLAIN.to_csv(path, index=False, sep=delimiter, encoding=encoding, lineterminator=ending)
    pd.testing.assert_frame_equal(read_table(path), PLAIN)


def test_quoted_newlines_and_delimiters_stay_inside_their_field(tmp_path: Path) -> None:
    frame = pd.DataFrame({"note": ["a\nb", "c,d;e", 'say "x"'], "y": [1, 2, 3]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), frame)


def test_decimal_commas(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "a;b\n1,5;x\n-2,25;y\n"))["a"].tolist() == [1.5, -2.25]
    assert read_table(written(tmp_path, "a;b\n1.5;x\n-2.25;y\n"))["a"].tolist() == [1.5, -2.25]


def test_spaces_after_delimiters_question_marks_and_blank_lines(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, "\n\nage, job\n39, ?\n\n?, clerk\n"))
    assert list(frame.columns) == ["age", "job"]
    assert frame["age"].tolist()[0] == 39
    assert frame.isna().to_numpy().tolist() == [[False, True], [True, False]]


def test_delimiter_of_the_header_wins_over_one_in_the_text(tmp_path: Path) -> None:
    assert list(read_table(written(tmp_path, "a,b\n1;2;3,x\n4;5;6,y\n"))) == ["a", "b"]


def test_a_wide_header_is_read_whole(tmp_path: Path) -> None:
    names = [f"a long name of column {place}" for place in range(5000)]
    frame = read_table(written(tmp_path, ",".join(names) + "\n" + ",".join("1" * 5000) + "\n"))
    assert list(frame) == names


def test_numbers_are_read_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng().normal(size=2000) * 10.0 ** np.random.default_rng().integers(-300, 300, 2000)
    pd.DataFrame({"a": values, "b": 1}).to_csv(tmp_path / "t.csv", index=False)
    assert (read_table(tmp_path / "t.csv")["a"] == values).all()


@pytest.mark.parametrize("indexed", [PLAIN, PLAIN.set_index(pd.Index([7, 3, 9]))])
def test_a_nameless_index_is_no_column(tmp_path: Path, indexed: pd.DataFrame) -> None:
    indexed.to_csv(tmp_path / "t.csv")
    indexed.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), PLAIN)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), PLAIN)


def test_a_named_index_is_a_column(tmp_path: Path) -> None:
    indexed = PLAIN.set_index("ward")
    indexed.to_csv(tmp_path / "t.csv")
    indexed.to_parquet(tmp_path / "t.parquet")
    assert set(read_table(tmp_path / "t.csv")) == set(read_table(tmp_path / "t.parquet")) == set(PLAIN)


def test_parquet_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "decimal": [decimal.Decimal("1.50"), None],
            "category": pd.Categorical(["x", None]),
            "day": [datetime.date(2020, 1, 2), None],
            "zoned": pd.to_datetime(["2020-01-01 10:00+01:00", None]),
            "flag": [True, None],
            "list": [[1, 2], None],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read["decimal"].dtype == np.float64
    assert isinstance(read["category"].dtype, pd.CategoricalDtype)
    assert read["zoned"][0] == pd.Timestamp("2020-01-01 10:00+01:00")
    assert read.isna().to_numpy().tolist() == [[False] * 6, [True] * 6]


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    PLAIN.to_parquet(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), PLAIN)


def test_a_late_value_of_another_type_makes_one_column_of_text(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, "a,b\n" + "1,2\n" * 300_000 + "x,3\n"))
    assert set(frame["a"]) == {"1", "x"}


def test_folder_with_hub_names_gets_a_split_column(tmp_path: Path) -> None:
    PLAIN.to_parquet(tmp_path / "train-00000-of-00002.parquet")
    PLAIN.to_parquet(tmp_path / "train-00001-of-00002.parquet")
    PLAIN.to_parquet(tmp_path / "test_unseen-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("not a table")
    read = read_table(tmp_path)
    assert read["split"].tolist() == ["test_unseen"] * 3 + ["train"] * 6
    assert read.index.tolist() == list(range(9))


def test_folder_without_two_splits_gets_none(tmp_path: Path) -> None:
    PLAIN.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    assert "split" not in read_table(tmp_path)
    PLAIN.to_csv(tmp_path / "more.csv", index=False)
    read = read_table(tmp_path)
    assert "split" not in read
    assert len(read) == 6


def test_folder_keeps_a_split_column_of_its_own(tmp_path: Path) -> None:
    PLAIN.assign(split="a").to_parquet(tmp_path / "train.parquet")
    PLAIN.assign(split="b").to_parquet(tmp_path / "test.parquet")
    assert read_table(tmp_path)["split"].tolist() == list("bbbaaa")


def test_folder_of_different_tables(tmp_path: Path) -> None:
    PLAIN.to_parquet(tmp_path / "a.parquet")
    PLAIN.drop(columns="ward").to_parquet(tmp_path / "b.parquet")
    assert "b.parquet and a.parquet differ in column 'ward'" in complaint(tmp_path)


def test_folder_without_tables(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    assert "has no tables: put files" in complaint(tmp_path)


def test_missing_file_suggests_near_names(tmp_path: Path) -> None:
    written(tmp_path, "a,b\n1,2\n", "patients.csv")
    assert "did you mean 'patients.csv'?" in complaint(tmp_path / "patient.csv")
    assert "there is no folder" in complaint(tmp_path / "nowhere" / "patients.csv")


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
BAD = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\t\n", "is empty"),
    "mark-only": (b"\xef\xbb\xbf", "is empty"),
    "header-only": (b"a,b\n", "no rows"),
    "one-column": (b"hello\nworld\n", "names no two columns; separate names by"),
    "nameless": (b",\n1,2\n", "names no two columns"),
    "json": (json.dumps([{"a": 1}]).encode(), "but JSON"),
    "json-lines": (b'{"a": 1}\n{"a": 2}\n', "but JSON"),
    "web-page": (b"<!DOCTYPE html><html></html>", "a web page"),
    "png": (PNG, "a PNG image"),
    "excel": (b"PK\x03\x04" + bytes(100), "Excel"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "gzip"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    "binary": (b"a,b\n\x00\x01\x02", "neither text nor Parquet"),
    "repeated-name": (b"a,b,a\n1,2,3\n", "more than one column named 'a' (columns 1 and 3): rename"),
    "repeated-after-strip": (b"a ,b, a\n1,2,3\n", "more than one column named 'a'"),
    "long-row": (b"a,b\n1,2\n3,4,5\n", "line 3 has 3 fields where the header has 2; quote"),
    "short-header": (b"a,b\n1,2,3\n", "more fields than the header has names; name every column"),
    "late-extra-field": (b"a,b\n1,2,\n3,4,5\n", "more fields than the header has names"),
    "open-quote": (b'a,b\n1,"x\n', "never closed"),
    "parquet-stub": (b"PAR1PAR1", "truncated or damaged"),
}


@pytest.mark.parametrize(("content", "expected"), BAD.values(), ids=BAD)
def test_bad_files_are_one_line_with_the_mend(tmp_path: Path, content: bytes, expected: str) -> None:
    message = complaint(written(tmp_path, content))
    assert expected in message
    assert str(tmp_path) in message


def test_trailing_delimiters_are_harmless(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "a,b\n1,2,\n3,4,\n")).to_numpy().tolist() == [[1, 2], [3, 4]]


def test_text_under_a_parquet_name(tmp_path: Path) -> None:
    assert "text under a Parquet name" in complaint(written(tmp_path, "a,b\n1,2\n", "t.parquet"))


def test_parquet_with_a_repeated_name_or_no_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    column = pa.array([1, 2])
    parquet.write_table(pa.Table.from_arrays([column, column], names=["a", "a"]), tmp_path / "t.parquet")
    assert "more than one column named 'a'" in complaint(tmp_path / "t.parquet")
    PLAIN.head(0).to_parquet(tmp_path / "t.parquet")
    assert "no rows" in complaint(tmp_path / "t.parquet")


@given(cut=st.integers(4, 10**6), flips=st.lists(st.tuples(st.integers(4, 10**6), st.integers(1, 255)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_damaged_parquet_is_never_a_traceback(tmp_path_factory: Any, cut: int, flips: list[tuple[int, int]]) -> None:
    path = tmp_path_factory.mktemp("damaged") / "t.parquet"
    PLAIN.to_parquet(path)
    content = bytearray(path.read_bytes())
    for place, mask in flips:
        content[place % len(content)] ^= mask
    path.write_bytes(content[: 4 + cut % len(content)])
    assert_table_or_one_line(path)


def test_truncated_parquet(tmp_path: Path) -> None:
    PLAIN.to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    assert "truncated or damaged" in complaint(written(tmp_path, content[:-20], "t.parquet"))


@given(content=st.binary(max_size=300) | st.text("ab1.,;\t\n\r\"' é?", max_size=80).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory: Any, content: bytes) -> None:
    assert_table_or_one_line(written(tmp_path_factory.mktemp("any"), content))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = written(tmp_path, "a,b\n1,2\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # what a real refusal raises; tests may run as root

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "may not be read: ask for read permission" in complaint(path if kind == "file" else tmp_path)


def test_pipes_and_impossible_paths(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a pipe" in complaint(tmp_path / "pipe.csv")
    assert complaint(Path("a\0b"))
    assert complaint(written(tmp_path, "a,b\n1,2\n") / "x.csv")
    assert complaint(tmp_path / ("n" * 5000))


BIG = [2**53 + 1, -(2**53) - 3, 2**63 - 1, 5]


@pytest.mark.parametrize("numbers", [BIG, [*BIG, None], [2**64 - 1, None], [2**64 - 1, 7]])
def test_whole_numbers_keep_every_digit(tmp_path: Path, numbers: list[int | None]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kind = pa.uint64() if 2**64 - 1 in numbers else pa.int64()
    columns = {"id": pa.array(numbers, kind), "x": pa.array(range(len(numbers)))}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    written(tmp_path, "id,x\n" + "".join(f"{'' if n is None else n},{k}\n" for k, n in enumerate(numbers)))
    for name in ("t.parquet", "t.csv"):
        ids = read_table(tmp_path / name)["id"]
        assert [None if missing else int(n) for n, missing in zip(ids, ids.isna(), strict=True)] == numbers


def test_large_floats_beside_missing_values_stay_floats(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, "a,b\n1e300,1\n,2\n2e17,3\n"))
    assert frame["a"].dtype == np.float64


NOTED = {
    "latin-1": ("ä,b\n1,2\n".encode("latin-1"), ["is not UTF-8: read as Latin-1"]),
    "short rows": (b"a,b,c\n1,2\n\n3\n4,5,6\n", ["2 rows have fewer fields than the header (lines 2, 4)"]),
    "cut off": (b"a,b\n1,2\n3", ["1 row has fewer fields than the header (line 3)"]),
    "missing at the end of a row": (b"a,b\n1,\n3,4\n", []),
    "byte-order mark": (b"\xef\xbb\xbfa,b\n1,2\n", []),
    "semicolons": (b"a;b\n1;2\n", []),
}


@pytest.mark.parametrize(("content", "expected"), NOTED.values(), ids=NOTED)
def test_what_was_guessed_or_filled_in_is_noted(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    notes = read_with_notes(written(tmp_path, content))[1]
    assert len(notes) == len(expected)
    for note, part in zip(notes, expected, strict=True):
        assert part in note
        assert note.startswith("t.csv")


def test_notes_of_all_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        written(tmp_path, b"a,b\n1,2\n3", name)
    assert [note.partition(":")[0] for note in read_with_notes(tmp_path)[1]] == ["a.csv", "b.csv"]
