"""Text as tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from holdfast.core.errors import UserError
from holdfast.tables import TokenEncoder, text_column


def test_tokens_are_cut_and_padded(text_network: Callable[..., Path]) -> None:
    texts = pd.Series(["the book was good", "bad", None, "the unknown book"], name="review")
    encoder = TokenEncoder.fit(texts[:1], str(text_network()), most=128)
    assert encoder.length == 4
    found = encoder.inputs(pd.DataFrame({"price": range(4), "review": texts}))
    assert isinstance(found, dict)
    assert found["input_ids"].tolist() == [[4, 5, 6, 2], [3, 0, 0, 0], [0, 0, 0, 0], [4, 1, 5, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]
    assert TokenEncoder.fit(texts, encoder.path, most=2).length == 2
    with pytest.raises(UserError, match="no column 'review'"):
        encoder.inputs(pd.DataFrame({"price": [1.0]}))


def test_no_text_is_longer_than_the_network_takes(text_network: Callable[..., Path]) -> None:
    long = pd.Series(["very " * 50], name="review")
    assert TokenEncoder.fit(long, str(text_network()), most=128).length == 20


def test_rows_of_no_table_have_the_same_width(text_network: Callable[..., Path]) -> None:
    encoder = TokenEncoder("review", str(text_network()), 7)
    found = encoder.inputs(pd.DataFrame({"review": pd.Series([], dtype=object)}))
    assert isinstance(found, dict)
    assert found["input_ids"].shape == (0, 7)


def test_the_column_of_text_is_found_and_doubt_is_one_line() -> None:
    long = [f"number {k} is a longer line of text" for k in range(200)]
    frame = pd.DataFrame({"a": range(200), "name": [f"n{k}" for k in range(200)], "long": long, "other": long})
    assert text_column(frame, ["a", "name", "long"], "t") == "long"
    assert text_column(frame, ["a", "name"], "t") == "name"
    with pytest.raises(UserError, match="t has text in the columns 'long' and 'other'"):
        text_column(frame, ["long", "other"], "t")
    with pytest.raises(UserError, match="t has no column of text among 'a'"):
        text_column(frame, ["a"], "t")


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is an extra")
    with pytest.raises(UserError, match="cannot read a tokenizer"):
        TokenEncoder.fit(pd.Series(["a"]), str(tmp_path), 3)
