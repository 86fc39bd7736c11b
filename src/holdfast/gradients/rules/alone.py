"""Any module by itself: run again on the rows of each environment, all environments of a chunk at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from holdfast.gradients.grouping import Chunk
from holdfast.gradients.rules.base import LayerGradient, Rule, Workspace


class ModuleAlone(Rule):
    """Vector–Jacobian products of one module by ``torch.func``, mapped over environments.

    It fails where the module cannot be mapped (its values steer the control flow), and gives wrong gradients where a
    second run differs from the first (dropout); the engine finds out at its first step and goes another way.
    """

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        rows = len(gradient.outputs)
        values = [*gradient.arguments, *gradient.keywords.values()]
        of_rows = [isinstance(v, Tensor) and v.ndim > 0 and len(v) == rows for v in values]
        mapped = [chunk.take(v.detach()) for v, has_rows in zip(values, of_rows, strict=True) if has_rows]
        directions = {position: chunk.take_gradients(g) for position, g in gradient.directions.items()}
        run = _runner(gradient, values, of_rows, tuple(directions))
        product = torch.func.vmap(_vector_jacobian(run, _parameters(gradient)), randomness="different")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            return dict(product(mapped, directions))

    def describe(self, layer: nn.Module) -> str:
        return f"{type(layer).__name__} alone, run again and mapped over environments"


Run = Callable[[dict[str, Tensor], list[Tensor]], dict[int, Tensor]]


def _parameters(gradient: LayerGradient) -> dict[str, Tensor]:
    return {name: gradient.layer.get_parameter(name).detach() for name in gradient.wanted}


def _runner(gradient: LayerGradient, values: list[Any], of_rows: list[bool], positions: tuple[int, ...]) -> Run:
    """The module as a function of the wanted parameters and of those arguments that hold rows."""
    names = list(gradient.keywords)
    count = len(values) - len(names)

    def run(parameters: dict[str, Tensor], mapped: list[Tensor]) -> dict[int, Tensor]:
        rows = iter(mapped)
        full = [next(rows) if has_rows else value for value, has_rows in zip(values, of_rows, strict=True)]
        keywords = dict(zip(names, full[count:], strict=True))
        output = torch.func.functional_call(gradient.layer, parameters, tuple(full[:count]), keywords)
        outputs = output if isinstance(output, tuple) else (output,)
        return {position: outputs[position] for position in positions}

    return run


def _vector_jacobian(run: Run, parameters: dict[str, Tensor]) -> Callable[..., dict[str, Tensor]]:
    def product(mapped: list[Tensor], directions: dict[int, Tensor]) -> dict[str, Tensor]:
        pull_back = torch.func.vjp(lambda p: run(p, mapped), parameters)[1]
        (gradients,) = pull_back(directions)
        return cast(dict[str, Tensor], gradients)

    return product
