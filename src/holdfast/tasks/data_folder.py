"""Where named data sets lie: in a local folder, laid out as on the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.core.errors import UserError

VARIABLE = "HOLDFAST_DATA"
SHARD = "train-00000-of-00001.parquet"


def data_set_folder(name: str, data_dir: str | None = None) -> Path:
    """The folder of a named data set: below ``data_dir``, else below the folder that HOLDFAST_DATA names.

    Args:
        name: Of the data set, such as ``mnist``.
        data_dir: The folder of data sets, where a user gives one.

    Raises:
        UserError: No folder is named, or it has no such data set.
    """
    root = data_dir or os.environ.get(VARIABLE)
    layout = f"a local folder that holds {name}/{SHARD}, as on the Hugging Face hub"
    if not root:
        raise UserError(f"the data set {name!r} is needed: name {layout}, with --data-dir or in {VARIABLE}")
    folder = Path(root, name)
    if not folder.is_dir():
        given = "--data-dir" if data_dir else VARIABLE
        raise UserError(f"{given} names {root}, where there is no folder {name!r}: name {layout}")
    return folder


def has_data_set(name: str, data_dir: str | None = None) -> bool:
    """Whether a data set of this name can be found."""
    root = data_dir or os.environ.get(VARIABLE)
    if not root or "/" in name or name in (".", ".."):
        return False
    return os.path.isdir(os.path.join(root, name))  # noqa: PTH112, PTH118  # False for what is too long for a path
