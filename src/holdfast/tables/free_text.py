"""A column of free text as TF-IDF weights of its words.

scikit-learn learns the vocabulary; what is kept are words and numbers, and applying them needs no scikit-learn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from holdfast.tables.codes import name_codes

if TYPE_CHECKING:
    from holdfast.tables.columns import Features

MAX_WORDS = 2000
_WORD = re.compile(r"\b\w\w+\b")  # as scikit-learn's


@dataclass(frozen=True)
class FreeTextColumn:
    """One output per frequent word: its count times the word's weight, scaled so that a row's squares sum to one.

    The weight of a word in d of n training rows is log((1 + n) / (1 + d)) + 1. Words are runs of two or more letters,
    digits and underscores, in lower case. A row of unknown words is a row of zeros.

    Attributes:
        name: The column.
        words: The words in alphabetical order.
        weights: One for each word.
        found: How many words were frequent enough, of which the most frequent are kept.
        missing: Whether a training row had no value; adds an output that tells.
    """

    name: str
    words: tuple[str, ...]
    weights: tuple[float, ...]
    found: int
    missing: bool

    def __post_init__(self) -> None:
        if len(self.words) != len(self.weights):
            raise ValueError(f"{len(self.words)} words have {len(self.weights)} weights")

    @classmethod
    def fit(cls, series: pd.Series, min_count: int, max_words: int = MAX_WORDS) -> FreeTextColumn | None:
        """Learn from (N,) training values; None when no word is frequent enough.

        Args:
            series: The values.
            min_count: Words in fewer training rows are left out.
            max_words: So many words are kept at most, the most frequent ones.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = series.astype(object).where(series.notna(), "").map(str)
        try:
            found = len(TfidfVectorizer(min_df=min_count).fit(texts).vocabulary_)
        except ValueError:  # no word is left
            return None
        learnt = TfidfVectorizer(min_df=min_count, max_features=max_words).fit(texts)
        words = tuple(map(str, learnt.get_feature_names_out()))
        return cls(str(series.name), words, tuple(learnt.idf_.tolist()), found, bool(series.isna().any()))

    @property
    def feature_names(self) -> tuple[str, ...]:
        missing = [f"{self.name} (missing)"] if self.missing else []
        return (*(f"{self.name}: {word}" for word in self.words), *missing)

    @property
    def note(self) -> str | None:
        cut = f" (the most frequent of {self.found:,})" if self.found > len(self.words) else ""
        return f"column {self.name!r} is free text: read as TF-IDF weights of {len(self.words):,} words{cut}"

    def write(self, series: pd.Series, out: Features) -> None:
        codes, texts = name_codes(series)
        text, word, number = self._counts([str(text) for text in texts])
        values = number * np.asarray(self.weights)[word]
        norms = np.sqrt(np.bincount(text, values * values, minlength=len(texts)))
        values = values / norms[text]
        starts = np.searchsorted(text, np.arange(len(texts) + 1))
        for row, code in enumerate(codes.tolist()):
            if code >= 0:
                entries = slice(starts[code], starts[code + 1])
                out[row, word[entries]] = values[entries]
        if self.missing:
            out[:, -1] = codes < 0

    def _counts(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How often texts hold words: (M,) text, word and count, in order of texts and in them of words."""
        place = {word: k for k, word in enumerate(self.words)}
        pairs = [
            (k, place[word]) for k, text in enumerate(texts) for word in _WORD.findall(text.lower()) if word in place
        ]
        cells, counts = np.unique(np.array(pairs, dtype=np.int64).reshape(-1, 2), axis=0, return_counts=True)
        return cells[:, 0], cells[:, 1], counts
