"""Models behind a dotted Python name."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from holdfast.core.errors import UserError, unknown_name
from holdfast.foreign.estimators import is_estimator, model_of_estimator
from holdfast.foreign.predictor import Model, running
from holdfast.foreign.torch_files import model_of_module


def open_callable(name: str) -> Model:
    """What ``module:object`` leads to: a network, a fitted estimator, or a function from rows to outputs.

    A function without required arguments is called for the model. Modules of the current folder can be named.

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
    if not _is_model(found) and callable(found) and _takes_nothing(found):
        with running(name):
            found = found()
    return _model_of(found, name)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            raise UserError(f"there is no Python module {name!r} here: is it installed, or in this folder?") from None
        raise


def _model_of(found: Any, name: str) -> Model:
    if isinstance(found, nn.Module):
        return model_of_module(found, name)
    if is_estimator(found):
        return model_of_estimator(found, name)
    if callable(found):
        return Model(name, found, reads_frame=True)
    raise UserError(f"{name} is of type {type(found).__name__}: name a network, an estimator or a function")


def _is_model(found: Any) -> bool:
    return isinstance(found, nn.Module) or (is_estimator(found) and not isinstance(found, type))


def _takes_nothing(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not inspect.Parameter.empty or p.kind in kinds for p in parameters)
