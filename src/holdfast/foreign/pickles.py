"""Pickles: code rather than data, opened only for who trusts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.others_code import running
from holdfast.foreign.estimators import is_estimator, model_of_estimator
from holdfast.foreign.predictor import Model
from holdfast.foreign.torch_files import model_of_module


def open_pickle(path: Path, kind: Literal["pickle", "torch-pickle"], *, trusted: bool) -> Model:
    """A file of pickle, joblib or ``torch.save``.

    Raises:
        UserError: It is not trusted, fails to load, or holds no model.
    """
    if not trusted:
        raise UserError(
            f"{path} is a pickle, which can run any code when it is opened: save the model with skops, torch.export "
            "or ONNX, or add --trust-pickle if you know who made it"
        )
    with running(f"opening {path}"):
        found = _load(path, kind)
    if isinstance(found, nn.Module):
        return model_of_module(found, path.name)
    if is_estimator(found):
        return model_of_estimator(found, path.name)
    raise UserError(f"{path} holds {type(found).__name__}, which is no network and no estimator")


def _load(path: Path, kind: str) -> Any:
    if kind == "torch-pickle":
        import torch

        return torch.load(path, map_location="cpu", weights_only=False)  # noqa: TID251  # the user trusts it
    import joblib

    return joblib.load(path)  # the user trusts it
