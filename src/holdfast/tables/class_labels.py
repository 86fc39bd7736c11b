"""Names of classes in a Parquet file of the Hugging Face hub, whose columns hold their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """The columns that are classes, with the names of their codes 0, 1, …; nothing where the file does not say.

    Args:
        metadata: Of the file's schema, where the library ``datasets`` keeps the features under ``huggingface``.

    >>> features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "text": {"_type": "Value"}}
    >>> class_names({b"huggingface": json.dumps({"info": {"features": features}}).encode()})
    {'label': ('cat', 'dog')}
    """
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: feature["names"] for name, feature in features.items() if _type(feature) == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {name: tuple(names) for name, names in found.items() if _are_names(names)}


def named(series: pd.Series, names: tuple[str, ...]) -> pd.Series:
    """Codes as an ordered category of their names, −1 as missing; unchanged where a code has no name.

    >>> named(pd.Series([1, -1, 0]), ("cat", "dog")).tolist()
    ['dog', nan, 'cat']
    """
    if not pd.api.types.is_numeric_dtype(series.dtype):
        return series
    codes = series.to_numpy(dtype=np.float64, na_value=-1)  # whole numbers beside missing ones are floats
    if not np.isin(codes, np.arange(-1, len(names))).all():
        return series
    category = pd.Categorical.from_codes(codes.astype(np.int64), pd.Index(names), ordered=True)
    return pd.Series(category, series.index, name=series.name)


def _type(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, dict) else None


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(n, str) for n in names) and len(set(names)) == len(names) > 0
