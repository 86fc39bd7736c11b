"""Somebody else's Python code: found by its dotted name, run so that what goes wrong in it is one line."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from holdfast.core.errors import HoldfastError, UserError, unknown_name

DOTTED = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"
"""What ``module:object`` looks like."""


def object_at(name: str) -> Any:
    """What ``module:object`` leads to; modules of the current folder can be named.

    Raises:
        UserError: There is no such module or object, or importing it fails.
    """
    module_name, _, path = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with running(f"importing {module_name}"):
        found: Any = _module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise unknown_name(f"object of {module_name}", part, [n for n in vars(found) if not n.startswith("_")])
        found = getattr(found, part)
    return found


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """Run somebody else's code: silent, without gradients; whatever it raises becomes one line.

    Raises:
        UserError: The code raised, or tried to end the process.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except HoldfastError:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:300]
        raise UserError(f"{name} raised {type(error).__name__}: {text}{_where(error)}") from None


def _where(error: BaseException) -> str:
    """The last line of the user's own code on the way to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    others = ("site-packages", "holdfast", "<", "lib/python")
    own = [frame for frame in frames if not any(part in frame.filename for part in others)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            raise UserError(f"there is no Python module {name!r} here: is it installed, or in this folder?") from None
        raise
