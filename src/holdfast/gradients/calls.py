"""Calls of layers, kept in the autograd graph itself, so that they live and die with it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from holdfast.core.errors import UserError


@dataclass(eq=False)
class Call:
    """One forward pass through one layer.

    Attributes:
        module: The layer.
        name: Its name in the model.
        arguments: Positional arguments.
        keywords: Keyword arguments.
        shapes: Shape of each output that has a gradient, by its position.
        low_precision: Whether an output has less than 32 bits, as under autocast.
    """

    module: nn.Module
    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    shapes: dict[int, torch.Size] = field(default_factory=dict)
    low_precision: bool = False
    versions: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.versions = self._versions()

    @property
    def input(self) -> Tensor | None:
        """The first argument, where it is a tensor."""
        first = next(iter((*self.arguments, *self.keywords.values())), None)
        return first.detach() if isinstance(first, Tensor) else None

    @property
    def shape(self) -> torch.Size:
        """Shape of the first output that has a gradient."""
        return next(iter(self.shapes.values()))

    def check_unmodified(self) -> None:
        """Refuse inputs that were changed in place after the layer read them."""
        if self.versions != self._versions():
            raise UserError(f"the input of layer {self.name!r} was modified in place: give the layer a copy")

    def release(self) -> None:
        """Let go of the arguments."""
        self.arguments, self.keywords, self.versions = (), {}, ()

    def _versions(self) -> tuple[int, ...]:
        values = (*self.arguments, *self.keywords.values())
        return tuple(v._version for v in values if isinstance(v, Tensor) and not v.is_inference())


class Recorder:
    """Forward hooks that leave a :class:`Call` at the autograd node of a layer's output.

    Nothing is left under ``torch.no_grad``, and a call is forgotten when its graph is.
    """

    def __init__(self) -> None:
        self.paused = False

    def attach(self, model: nn.Module, owner: object) -> Any:
        """Hook every layer that owns parameters; returns the finalizer that removes the hooks with ``owner``."""
        handles = [
            module.register_forward_hook(_Hook(self, name), with_kwargs=True)
            for name, module in model.named_modules()
            if next(module.parameters(recurse=False), None) is not None
        ]
        return weakref.finalize(owner, _remove, handles)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Record nothing inside the block."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False


@dataclass(eq=False)
class _Hook:
    recorder: Recorder
    name: str

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        if self.recorder.paused or not torch.is_grad_enabled():
            return
        call = None
        for position, tensor in enumerate(output if isinstance(output, tuple) else (output,)):
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                call = call or Call(module, self.name, arguments, keywords)
                call.shapes[position] = tensor.shape
                call.low_precision |= tensor.element_size() < 4
                edge = torch.autograd.graph.get_gradient_edge(tensor)
                _notes(edge.node).setdefault(self.recorder, []).append((call, position, edge.output_nr))


def _notes(node: Node) -> dict[object, list[tuple[Call, int, int]]]:
    return cast(dict[object, list[tuple[Call, int, int]]], node.metadata)


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()


@dataclass(frozen=True)
class Graph:
    """What the graph under some losses holds.

    Attributes:
        outputs: For each call, the gradient edges of its outputs by their position.
        uses: How many nodes read each leaf.
        parents: The nodes through which the losses depend on a node.
    """

    outputs: dict[Call, dict[int, GradientEdge]]
    uses: dict[Tensor, int]
    parents: dict[Node, list[Node]]

    def above(self, nodes: set[Node]) -> set[Node]:
        """All nodes through which the losses depend on one of these."""
        found: set[Node] = set()
        stack = list(nodes)
        while stack:
            for parent in self.parents.get(stack.pop(), ()):
                if parent not in found:
                    found.add(parent)
                    stack.append(parent)
        return found

    def forget(self, recorder: Recorder) -> None:
        """Take the calls, and the inputs they hold, out of the graph."""
        for edges in self.outputs.values():
            for edge in edges.values():
                _notes(edge.node).pop(recorder, None)


def walk(losses: Tensor, recorder: Recorder) -> Graph:
    """Every call and every leaf that the losses depend on."""
    outputs: dict[Call, dict[int, GradientEdge]] = {}
    uses: dict[Tensor, int] = {}
    parents: dict[Node, list[Node]] = {}
    stack = [losses.grad_fn] if losses.grad_fn is not None else []
    while stack:
        node = stack.pop()
        for call, position, number in _notes(node).get(recorder, ()):
            outputs.setdefault(call, {})[position] = GradientEdge(node, number)
        for following, _ in node.next_functions:
            if following is None:
                continue
            if type(following).__name__ == "AccumulateGrad":
                leaf = cast(Any, following).variable
                uses[leaf] = uses.get(leaf, 0) + 1
            elif following in parents:
                parents[following].append(node)
            else:
                parents[following] = [node]
                stack.append(following)
    return Graph(outputs, uses, parents)
