"""A column of text as the tokens that a pretrained network reads."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holdfast.core.data import StoredInputs
from holdfast.core.errors import UserError
from holdfast.core.pretrained import pretrained
from holdfast.tables.parse import column_kind

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.tables.columns import ColumnEncoder


@dataclass(frozen=True)
class TokenEncoder:
    """Turns the texts of one column into tokens; each row has the same number of them, padded on the right.

    Attributes:
        column: The column of text; a missing value is an empty text.
        path: A folder with a tokenizer of Hugging Face's transformers, or ``OWNER/NAME`` on the hub.
        length: Tokens of a row; what is longer is cut.
    """

    column: str
    path: str
    length: int

    @classmethod
    def fit(cls, texts: pd.Series, path: str, most: int) -> TokenEncoder:
        """As long as the longest of (N,) training texts, at most ``most`` tokens.

        Raises:
            UserError: There is no tokenizer.
            MissingExtra: transformers is not installed.
        """
        found = tokens_of(texts, tokenizer_at(path), most)
        return cls(str(texts.name), path, max(map(len, found)))

    @property
    def columns(self) -> tuple[ColumnEncoder, ...]:
        """The columns that are read as numbers: none."""
        return ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of numbers: none."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """One-line remarks for the report."""
        return (f"inputs are the first {self.length} tokens of {self.column!r}, as {self.path} splits text",)

    def inputs(self, frame: pd.DataFrame) -> StoredInputs:
        """``input_ids`` and ``attention_mask`` of N rows, each (N, length) int64; further columns are ignored.

        Raises:
            UserError: There is no such column.
        """
        if self.column not in frame:
            raise UserError(f"the rows have no column {self.column!r}, which the model reads")
        found = tokens_of(frame[self.column], tokenizer_at(self.path), self.length)
        return {**padded(found, self.length)}


def text_column(frame: pd.DataFrame, features: Sequence[str], where: str) -> str:
    """The one feature that holds text: free text, or short text where no column is longer.

    Raises:
        UserError: None does, or several do.
    """
    kinds = {name: column_kind(frame[name]) for name in features}
    for kind in ("free text", "identifier"):
        found = [name for name in features if kinds[name] == kind]
        if len(found) == 1:
            return found[0]
        if found:
            listed = " and ".join(map(repr, found))
            raise UserError(f"{where} has text in the columns {listed}: leave all but one out with --drop")
    raise UserError(f"{where} has no column of text among {', '.join(map(repr, features))}")


@functools.lru_cache(maxsize=4)
def tokenizer_at(path: str) -> Any:
    """The tokenizer of transformers in a folder or on the hub.

    Raises:
        UserError: There is none.
    """
    return pretrained("AutoTokenizer", path, "a tokenizer")


def tokens_of(texts: pd.Series, tokenizer: Any, most: int) -> list[list[int]]:
    """Token ids of (N,) texts: one at least, ``most`` at most, and no more than the tokenizer's network can take."""
    most = min(most, tokenizer.model_max_length)
    plain = texts.astype(object).where(texts.notna(), "").map(str).tolist()
    found = tokenizer(plain, truncation=True, max_length=most, verbose=False)["input_ids"] if plain else []
    return [ids or [tokenizer.pad_token_id or 0] for ids in found]


def padded(tokens: Sequence[Sequence[int]], length: int) -> dict[str, Tensor]:
    """Rows of token ids as ``input_ids`` and ``attention_mask``, each (N, length); zeros where the mask is zero.

    >>> padded([[5, 6], [7]], 2)["input_ids"].tolist()
    [[5, 6], [7, 0]]
    """
    ids = torch.zeros(len(tokens), length, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, found in enumerate(tokens):
        ids[row, : len(found)] = torch.tensor(found)
        mask[row, : len(found)] = 1
    return {"input_ids": ids, "attention_mask": mask}
