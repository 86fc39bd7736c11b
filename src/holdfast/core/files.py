"""Files that are whole or absent: atomic writing, and trees of tensors without pickle."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.core.errors import UserError


class Unreadable(UserError):
    """A file that may be whole, and cannot be looked into."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"cannot read {path} (permission denied): ask for permission to read it")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path) if error.filename else None  # the name that a user knows
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: The file is missing, is not JSON, or may not be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise Unreadable(path) from None
    except (OSError, ValueError):
        raise UserError(f"cannot read {path}: it is missing or damaged; remove its folder and run again") from None


def write_tree(path: Path, tree: Any) -> None:
    """Write nested dicts, lists and tuples of tensors and JSON values as one safetensors file.

    The structure goes to the file's header; tensors are stored once each.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    structure = _pack(tree, tensors)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"tree": json.dumps(structure)})


def read_tree(path: Path) -> Any:
    """Read what :func:`write_tree` wrote.

    Raises:
        UserError: The file is missing, damaged, or may not be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return _unpack(json.loads(file.metadata()["tree"]), file)
    except PermissionError:
        raise Unreadable(path) from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"cannot read {path}: it is missing or damaged; remove its folder and run again") from None


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    return value


def _unpack(value: Any, file: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item, file) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return file.get_tensor(value["tensor"])
        if "tuple" in value:
            return tuple(_unpack(item, file) for item in value["tuple"])
        return {_unpack(k, file): _unpack(v, file) for k, v in value["items"]}
    return value


def _flush(path: Path) -> None:
    """Make the content reach the disk before the name does."""
    if path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
