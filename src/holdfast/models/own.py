"""A network of one's own, by its dotted Python name."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.others_code import object_at, running
from holdfast.core.registry import register
from holdfast.core.task import Model


@register
@dataclass(frozen=True, kw_only=True)
class Own(Model):
    """What a function of one's own builds, written as ``--model module:function``.

    The function takes the shape of an input row and the width of the output, and returns a fresh network. Modules of
    the current folder can be named. Models trained before the text of the function's module was changed are not
    mistaken for the new ones; changes in other modules are not noticed.

    Attributes:
        function: Its dotted name, ``module:function`` with ``.`` in place of ``:`` where options are written in line.
    """

    function: str

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        name = _dotted(self.function)
        make = object_at(name)
        with running(name):
            network = make(input_shape, outputs)
        if not isinstance(network, nn.Module):
            what = "write a function (input_shape, outputs) that returns a torch network"
            raise UserError(f"{name} returned {type(network).__name__}: {what}")
        _check(network, input_shape, outputs, name)
        return network.train()

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "source": _source(object_at(_dotted(self.function)))}


def _check(network: nn.Module, input_shape: tuple[int, ...], outputs: int, name: str) -> None:
    """Put two rows through a network, which also gives lazy layers their sizes.

    Raises:
        UserError: It fails on them, or puts out another shape.
    """
    with running(f"the network of {name}"):
        given = network.eval()(torch.zeros(2, *input_shape))
    shape = tuple(getattr(given, "shape", ()))
    if shape != (2, outputs):
        raise UserError(
            f"the network of {name} puts out {shape or type(given).__name__} for 2 rows, not {(2, outputs)}"
        )


def _dotted(name: str) -> str:
    return name if ":" in name else ":".join(name.rsplit(".", 1))


def _source(function: Any) -> str:
    """A hash of the text of the module that holds a function; of its name where there is no text."""
    module = inspect.getmodule(function)
    try:
        text = inspect.getsource(module) if module is not None else repr(function)
    except (OSError, TypeError):
        text = getattr(function, "__qualname__", type(function).__name__)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
