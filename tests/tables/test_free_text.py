"""Free text as TF-IDF weights: scikit-learn is the oracle, bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from holdfast.core.errors import UserError
from holdfast.tables import Encoder, fit_encoder
from holdfast.tables.free_text import FreeTextColumn

WORDS = ["fever", "Cough", "no", "PAIN", "über", "x2", "a", "don't", "_", "–", "fièvre", "头痛", "ward-3", ""]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)


def applied(column: FreeTextColumn, texts: list[str | None]) -> np.ndarray:
    out = np.zeros((len(texts), len(column.feature_names)), dtype=np.float32)
    column.write(pd.Series(texts, dtype=object), out)
    return out


@given(st.lists(TEXTS, min_size=1, max_size=12), st.lists(TEXTS | st.text(max_size=40), min_size=1, max_size=12))
def test_equals_scikit_learn_bit_for_bit(train: list[str], later: list[str]) -> None:
    column = FreeTextColumn.fit(pd.Series(train, name="note"), min_count=1, max_words=4)
    if column is None:
        assert not any(len(word) > 1 for word in " ".join(train).replace("'", " ").replace("–", " ").split())
        return
    oracle = TfidfVectorizer(max_features=4).fit(train)
    assert list(column.words) == list(oracle.get_feature_names_out())
    for texts in (train, later):
        expected = oracle.transform(texts).toarray().astype(np.float32)
        np.testing.assert_array_equal(applied(column, list(texts)), expected)


def test_long_texts_equal_scikit_learn_bit_for_bit() -> None:
    """Sums of many squares: an order of summation that differs shows."""
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{k}" for k in rng.zipf(1.3, 400) if k < 500) for _ in range(50)]
    column = FreeTextColumn.fit(pd.Series(texts, name="note"), min_count=2)
    assert column is not None
    assert len(column.words) > 200
    expected = TfidfVectorizer(min_df=2).fit_transform(texts).toarray().astype(np.float32)
    np.testing.assert_array_equal(applied(column, list(texts)), expected)


def test_a_missing_text_is_told_and_an_unknown_word_is_nothing() -> None:
    column = FreeTextColumn.fit(pd.Series(["fever and cough", None, "fever"], name="note", dtype=object), min_count=1)
    assert column is not None
    assert column.feature_names == ("note: and", "note: cough", "note: fever", "note (missing)")
    encoded = applied(column, [None, "unheard of", "fever"])
    assert encoded.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]


def notes(rows: int, words: int) -> pd.DataFrame:
    """A table of remarks of six words each, which hardly repeat."""
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{k:04}" for k in rng.integers(words, size=6)) for _ in range(rows)]
    return pd.DataFrame({"note": texts, "age": rng.normal(size=rows), "id": [f"patient {k}" for k in range(rows)]})


def test_free_text_is_encoded_and_identifiers_are_left_out() -> None:
    frame = notes(rows=100, words=20)
    encoder = fit_encoder(frame, list(frame))
    assert len(encoder.feature_names) == 21
    assert encoder.notes == (
        "left out, short text that hardly repeats: 'id'",
        "column 'note' is free text: read as TF-IDF weights of 20 words",
    )
    again = Encoder.from_json(encoder.to_json())
    assert again == encoder
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))


def test_only_the_most_frequent_words_are_kept_and_the_note_says_so() -> None:
    frame = notes(rows=5000, words=2500)
    encoder = fit_encoder(frame, ["note"])
    assert len(encoder.feature_names) == 2000
    assert "2,000 words (the most frequent of 2," in encoder.notes[0]


def test_text_whose_words_hardly_repeat_is_left_out() -> None:
    frame = notes(rows=80, words=10_000)
    assert fit_encoder(frame, ["note", "age"]).notes == ("left out, text whose words hardly repeat: 'note'",)


def test_a_text_of_other_length_than_its_weights_is_damaged() -> None:
    saved = json.loads(fit_encoder(notes(100, 20), ["note"]).to_json())
    saved["columns"][0]["weights"].pop()
    with pytest.raises(UserError, match="stored encoder is damaged"):
        Encoder.from_json(json.dumps(saved))
