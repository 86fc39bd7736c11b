"""Which kind of model a file is, by its content and never by its name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Literal

from holdfast.core.errors import UserError

Format = Literal["skops", "pickle", "torch-pickle", "torchscript", "torch-export", "onnx", "hugging-face"]

KINDS = "skops, TorchScript, torch.export, ONNX, or the folder of a Hugging Face classifier"


def format_of(path: Path) -> Format:
    """The kind of model at a path.

    Raises:
        UserError: It is none that is known, or cannot be read.
    """
    if path.is_dir():
        if (path / "config.json").is_file():
            return "hugging-face"
        raise UserError(f"{path} is a folder without config.json: name one that save_pretrained wrote, or a file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): ask for permission to read it") from None
    if not head:
        raise UserError(f"{path} is empty: export the model again")
    found = _of_zip(path) if head.startswith(b"PK") else _of_bytes(head)
    if found is None:
        raise UserError(f"{path} is no model that can be opened: give {KINDS}, or module:callable")
    return found


def _of_zip(path: Path) -> Format | None:
    """TorchScript has code beside its data, an exported program its archive's format; both would also hold pickles."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "schema.json" in names and not any(name.endswith("data.pkl") for name in names):
                return "skops" if "__class__" in json.loads(archive.read("schema.json")) else None
    except (zipfile.BadZipFile, OSError, ValueError, KeyError):
        raise UserError(f"{path} is a damaged archive: export the model again") from None
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner or "archive_format" in names:
        return "torch-export"
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        return "torchscript"
    return "torch-pickle" if "data.pkl" in inner else None


def _of_bytes(head: bytes) -> Format | None:
    """A pickle names its protocol, or is of protocol 0; compressed ones of joblib begin as their compression does."""
    zlib = head[0] == 0x78 and len(head) > 1 and (256 * head[0] + head[1]) % 31 == 0
    if zlib or head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"ccopy", b"cnump", b"c__bu")):
        return "pickle"
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return "pickle"
    # An ONNX model is a protocol buffer whose first field is the version of the format, a small number.
    return "onnx" if head[0] == 0x08 and len(head) > 1 and head[1] < 0x20 else None
