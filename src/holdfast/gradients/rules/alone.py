"""Any module by itself: run again on the rows of each environment, at once where it can be mapped, or one by one."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

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
        directions = {position: chunk.take_gradients(g) for position, g in gradient.directions.items()}
        product = torch.func.vmap(_vector_jacobian(_runner(gradient), _parameters(gradient)), randomness="different")
        with _as_it_was(gradient.layer), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            return dict(product([chunk.take(rows) for rows in gradient.rows], directions))

    def describe(self, layer: nn.Module) -> str:
        return f"{type(layer).__name__} alone, run again and mapped over environments"


class ModulePerEnvironment(Rule):
    """The same products by autograd, one environment after the other: for modules that cannot be mapped."""

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        run = _runner(gradient)
        rows = [chunk.take(rows) for rows in gradient.rows]
        directions = {position: chunk.take(g) for position, g in gradient.directions.items()}
        parameters = {name: p.requires_grad_() for name, p in _parameters(gradient).items()}
        gradients = []
        for e, size in enumerate(chunk.sizes):
            with _as_it_was(gradient.layer), torch.enable_grad():
                outputs = run(parameters, [r[e, :size] for r in rows])
            gradients.append(
                torch.autograd.grad(
                    list(outputs.values()),
                    list(parameters.values()),
                    [directions[position][e, :size].to(output.dtype) for position, output in outputs.items()],
                    materialize_grads=True,
                )
            )
        return {name: torch.stack(g) for name, g in zip(parameters, zip(*gradients, strict=True), strict=True)}

    def describe(self, layer: nn.Module) -> str:
        return f"{type(layer).__name__} alone, run again for each environment"


RUN_AGAIN = (ModuleAlone, ModulePerEnvironment)
"""The rules that need the module's arguments once more, after the backward pass."""

Run = Callable[[dict[str, Tensor], Sequence[Tensor]], dict[int, Tensor]]


@contextlib.contextmanager
def _as_it_was(layer: nn.Module) -> Iterator[None]:
    """What a layer and those in it keep as attributes is afterwards as before."""
    before = [(module, dict(module.__dict__)) for module in layer.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)


def _parameters(gradient: LayerGradient) -> dict[str, Tensor]:
    return {name: gradient.layer.get_parameter(name).detach() for name in gradient.wanted}


def _runner(gradient: LayerGradient) -> Run:
    """The module as a function of the wanted parameters and of those arguments that hold rows."""
    values = [*gradient.arguments, *gradient.keywords.values()]
    names = list(gradient.keywords)
    buffers = dict(gradient.layer.named_buffers())

    def run(parameters: dict[str, Tensor], rows: Sequence[Tensor]) -> dict[int, Tensor]:
        others = iter(rows)
        full = [next(others) if gradient.holds_rows(value) else value for value in values]
        count = len(full) - len(names)
        keywords = dict(zip(names, full[count:], strict=True))
        copies = {name: buffer.clone() for name, buffer in buffers.items()}  # the layer's own stay as they are
        output = torch.func.functional_call(gradient.layer, {**copies, **parameters}, tuple(full[:count]), keywords)
        outputs = output if isinstance(output, tuple) else (output,)
        return {position: outputs[position] for position in gradient.directions}

    return run


def _vector_jacobian(run: Run, parameters: dict[str, Tensor]) -> Callable[..., dict[str, Tensor]]:
    def product(rows: Sequence[Tensor], directions: dict[int, Tensor]) -> dict[str, Tensor]:
        pull_back = torch.func.vjp(lambda p: run(p, rows), parameters)[1]
        (gradients,) = pull_back(directions)
        return cast(dict[str, Tensor], gradients)

    return product
