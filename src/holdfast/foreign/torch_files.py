"""Networks: modules, TorchScript files and exported programs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.foreign.inputs import tensor_of
from holdfast.foreign.predictor import Model


def model_of_module(module: nn.Module, name: str) -> Model:
    """A network, in evaluation mode; it reads tensors in the precision and on the device of its parameters."""
    module = module.eval()
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    return Model(name, lambda x: module(tensor_of(x).to(first.device, first.dtype)), module=module)


def open_torchscript(path: Path) -> Model:
    """A file that ``torch.jit.save`` wrote.

    Raises:
        UserError: It cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise _unreadable(path, error, "torch.jit.save") from None
    found = model_of_module(module, path.name)
    return Model(found.name, found.run)


def open_export(path: Path) -> Model:
    """A file that ``torch.export.save`` wrote; a program of a fixed batch size is given batches of that size.

    Raises:
        UserError: It cannot be read.
    """
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), _quiet():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.load(path)
            module = program.module()
        except Exception as error:  # whatever a damaged archive makes of it
            raise _unreadable(path, error, "torch.export.save") from None
    size = _fixed_batch(program)

    def run(x: Any) -> Tensor:
        rows = tensor_of(x)
        if size is None:
            return module(rows)  # type: ignore[no-any-return]
        padded = torch.cat([rows, rows[-1:].expand(-len(rows) % size, *rows.shape[1:])])
        return torch.cat([module(part) for part in torch.split(padded, size)])[: len(rows)]

    return Model(path.name, run)


def _fixed_batch(program: Any) -> int | None:
    """The first dimension of the program's first input, where it is a number and no symbol."""
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else None
    return None


@contextlib.contextmanager
def _quiet() -> Any:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _unreadable(path: Path, error: Exception, by: str) -> UserError:
    reason = str(error).strip().partition("\n")[0][:150]
    return UserError(f"cannot read {path} ({reason or type(error).__name__}): write it again with {by}")
