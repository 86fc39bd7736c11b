"""Data sets of the Hugging Face hub, brought to a local folder of Parquet files once."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from holdfast.core.errors import MissingExtra, UserError
from holdfast.core.files import atomic_path

PREFIX = "hub:"
_ID = re.compile(r"[\w.-]+/[\w.-]+")


def hub_folder(address: str) -> Path:
    """The local folder of a data set on the hub; what is not there yet is downloaded.

    Args:
        address: ``hub:OWNER/NAME``.

    Returns:
        A folder with a file ``SPLIT-00000-of-00001.parquet`` for every split, in the user's cache.

    Raises:
        UserError: The address is no such thing, or the download fails; one line that says what to do without network.
        MissingExtra: The library ``datasets`` is not installed.
    """
    name = address.removeprefix(PREFIX)
    if not _ID.fullmatch(name):
        raise UserError(f"{address} is no data set on the hub: write hub:OWNER/NAME, such as hub:ylecun/mnist")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "holdfast" / "hub" / name.replace("/", "--")
    if not folder.is_dir():
        _download(name, folder)
    return folder


def _download(name: str, folder: Path) -> None:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "data") from None
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it writes a line for each of its retries
    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # of a dozen classes in four libraries: no network, no such name, no configuration, …
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"hub:{name} cannot be downloaded ({why}): where there is no network, name a local folder of its Parquet "
            "files instead, laid out as on the hub (train-00000-of-00001.parquet, …)"
        ) from None
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for split, rows in splits.items():
            rows.to_parquet(str(temporary / f"{split}-00000-of-00001.parquet"))
