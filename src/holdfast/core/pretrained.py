"""What lies in Hugging Face's folders and on their hub, read without running code of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.core.errors import MissingExtra, UserError
from holdfast.core.files import read_json


def pretrained(kind: str, path: str, what: str) -> Any:
    """An object of transformers from a folder or the hub.

    Args:
        kind: A class of transformers, such as ``AutoModel``.
        path: A folder that ``save_pretrained`` wrote, or ``OWNER/NAME`` on the hub.
        what: How messages call it, such as ``an image network``.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: There is no such object.
    """
    cls = getattr(_library(), kind)
    local = Path(path).is_dir()
    with _one_line(f"cannot read {what} from {path}", local):
        return cls.from_pretrained(path, local_files_only=local, trust_remote_code=False)


def settings_of(path: str, name: str) -> dict[str, Any]:
    """What a JSON file of a folder or on the hub holds; nothing where there is none.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: The hub cannot be reached.
    """
    cached_file = _library().utils.cached_file
    local = Path(path).is_dir()
    with _one_line(f"cannot read {name} of {path}", local):
        file = cached_file(path, name, local_files_only=local, _raise_exceptions_for_missing_entries=False)
    return read_json(Path(file)) if file else {}


@contextlib.contextmanager
def _one_line(message: str, local: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # transformers raises many kinds
        reason = str(error).strip().partition("\n")[0][:120]
        mend = "" if local else ": where there is no network, name a local folder that save_pretrained wrote"
        raise UserError(f"{message} ({reason}){mend}") from None


def _library() -> Any:
    """transformers, silenced."""
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "hf") from None
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it writes a line for each of its retries
    return transformers
