"""Models behind a dotted Python name."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.others_code import object_at, running
from holdfast.foreign.estimators import is_estimator, model_of_estimator
from holdfast.foreign.predictor import Model
from holdfast.foreign.torch_files import model_of_module


def open_callable(name: str) -> Model:
    """What ``module:object`` leads to: a network, a fitted estimator, or a function from rows to outputs.

    A function without required arguments is called for the model. Modules of the current folder can be named.

    Raises:
        UserError: There is no such module or object, or importing it fails.
    """
    found = object_at(name)
    if not _is_model(found) and callable(found) and _takes_nothing(found):
        with running(name):
            found = found()
    return _model_of(found, name)


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
