"""Calls of layers, kept in the autograd graph itself, so that they live and die with it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Collection, Iterable, Iterator
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
        altered: Whether another hook may have replaced what the layer put out.
        shapes: Shape of each output that has a gradient, by its position.
        low_precision: Whether an output has less than 32 bits, as under autocast.
        training: The layer's mode.
        parameters: What stood for its parameters, by name.
    """

    module: nn.Module
    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    altered: bool = False
    shapes: dict[int, torch.Size] = field(default_factory=dict)
    low_precision: bool = False
    training: bool = field(init=False)
    parameters: dict[str, Tensor | None] = field(init=False)
    versions: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.training, self.parameters = self.module.training, dict(self.module._parameters)
        self.versions = self._versions()

    @property
    def input(self) -> Tensor | None:
        """The first argument, where it is a tensor."""
        first = next(iter((*self.arguments, *self.keywords.values())), None)
        return first.detach() if isinstance(first, Tensor) else None

    @property
    def tensors(self) -> list[Tensor]:
        """The arguments that are tensors."""
        return [v for v in (*self.arguments, *self.keywords.values()) if isinstance(v, Tensor)]

    def check_unmodified(self) -> None:
        """Refuse inputs that were changed in place after the layer read them."""
        if self.versions != self._versions():
            raise UserError(f"the input of layer {self.name!r} was modified in place: give the layer a copy")

    def release(self) -> None:
        """Let go of the arguments."""
        self.arguments, self.keywords, self.versions = (), {}, ()

    def _versions(self) -> tuple[int, ...]:
        return tuple(v._version for v in self.tensors if not v.is_inference())


class Recorder:
    """Forward hooks that leave a :class:`Call` at the autograd node of a layer's output.

    Nothing is left under ``torch.no_grad``, and a call is forgotten when its graph is.
    """

    def __init__(self) -> None:
        self.paused = False

    def attach(self, model: nn.Module, owner: object) -> Any:
        """Hook every layer that owns parameters; returns the finalizer that removes the hooks with ``owner``."""
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise UserError("a layer is compiled by torch.jit: give the model before torch.jit.script or trace")
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
        altered = next(iter(module._forward_hooks.values())) is not self
        call = Call(module, self.name, arguments, keywords, altered)
        nodes = {tensor.grad_fn for tensor in call.tensors}
        for position, tensor in enumerate(output if isinstance(output, tuple) else (output,)):
            if not isinstance(tensor, Tensor) or tensor.grad_fn is None:
                continue
            if tensor.grad_fn in nodes:  # an argument handed on: a note would keep its own node alive
                continue
            call.shapes[position] = tensor.shape
            call.low_precision |= tensor.element_size() < 4
            edge = torch.autograd.graph.get_gradient_edge(tensor)
            _notes(edge.node).setdefault(self.recorder, []).append((call, position, edge.output_nr))

    def __deepcopy__(self, memo: Any) -> Any:
        """A copy of the model is not this engine's."""
        return no_hook

    def __reduce__(self) -> tuple[Any, ...]:
        return _idle, ()


def no_hook(*_: Any) -> None:
    """What stands for the hooks in copies of a model."""


def _idle() -> Any:
    return no_hook


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
        uses: How many nodes read each leaf, be it through views and casts of it.
        parents: The nodes through which the losses depend on a node.
        structure: The kinds of all nodes, in the order of a walk.
    """

    outputs: dict[Call, dict[int, GradientEdge]]
    uses: dict[Tensor, int]
    parents: dict[Node, list[Node]]
    structure: tuple[object, ...]

    @property
    def moves_rows(self) -> bool:
        """Whether something in the graph may put rows elsewhere, depending on values."""
        return any(name in _MOVES_ROWS for name in map(_name, self.parents))

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

    def leaves_outside(self, losses: Tensor, calls: Collection[Call]) -> set[Tensor]:
        """The leaves that the losses depend on other than from within these calls."""
        ends = {edge.node: call for call in calls for edge in self.outputs[call].values()}
        found: set[Tensor] = set()
        seen: set[Node] = set()
        stack = [losses.grad_fn] if losses.grad_fn is not None else []
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in ends:
                arguments = ends[node].tensors
                stack += [t.grad_fn for t in arguments if t.grad_fn is not None]
                found.update(t for t in arguments if t.is_leaf and t.requires_grad)
            elif _name(node) == "AccumulateGrad":
                found.add(cast(Any, node).variable)
            else:
                stack += [following for following, _ in node.next_functions if following is not None]
        return found

    def forget(self, recorder: Recorder) -> None:
        """Take the calls, and the inputs they hold, out of the graph."""
        for edges in self.outputs.values():
            for edge in edges.values():
                _notes(edge.node).pop(recorder, None)


_SAME_VALUES = frozenset(
    f"{kind}Backward0"
    for kind in (
        "T",
        "Transpose",
        "Permute",
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "ToCopy",
        "Alias",
        "Expand",
        "Unsqueeze",
    )
)
_MOVES_ROWS = frozenset(
    f"{kind}Backward{number}"
    for kind in ("Index", "IndexSelect", "IndexPut", "IndexAdd", "IndexCopy", "Gather", "Scatter", "ScatterAdd", "Take",
                 "ScatterReduce", "MaskedSelect", "MaskedScatter", "Sort", "RepeatInterleave", "PackPaddedSequence")
    for number in range(3)
)  # fmt: skip


def walk(losses: Tensor, recorder: Recorder) -> Graph:
    """Every call and every leaf that the losses depend on."""
    outputs: dict[Call, dict[int, GradientEdge]] = {}
    reads: dict[Tensor, list[Node]] = {}
    parents: dict[Node, list[Node]] = {}
    structure: list[object] = []
    stack = [losses.grad_fn] if losses.grad_fn is not None else []
    while stack:
        node = stack.pop()
        structure.append(_place(node))
        for call, position, number in _notes(node).get(recorder, ()):
            outputs.setdefault(call, {})[position] = GradientEdge(node, number)
        for following, _ in node.next_functions:
            if following is None:
                continue
            if _name(following) == "AccumulateGrad":
                reads.setdefault(cast(Any, following).variable, []).append(node)
            elif following in parents:
                parents[following].append(node)
            else:
                parents[following] = [node]
                stack.append(following)
    uses = {leaf: sum(_uses(node, parents) for node in nodes) for leaf, nodes in reads.items()}
    _refuse_hidden_graphs(parents)
    return Graph(outputs, uses, parents, tuple(structure))


def _uses(node: Node, parents: dict[Node, list[Node]]) -> int:
    """How many nodes read what this one makes of a leaf, views and casts aside."""
    if _name(node) not in _SAME_VALUES:
        return 1
    return sum(_uses(parent, parents) for parent in parents.get(node, ())) or 1


def _place(node: Node) -> object:
    """What a node is, with the place it selects where it selects one."""
    if _name(node) == "SelectBackward0":
        return type(node), cast(Any, node)._saved_dim, cast(Any, node)._saved_index
    return type(node)


def _name(node: Node) -> str:
    return type(node).__name__


def _refuse_hidden_graphs(nodes: Iterable[Node]) -> None:
    if any(_name(node) == "CheckpointFunctionBackward" for node in nodes):
        raise UserError(
            "a checkpoint hides the layers inside it: call torch.utils.checkpoint.checkpoint with use_reentrant=False"
        )
