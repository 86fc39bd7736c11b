"""One weight tree: everything that training or calibration changed in a network, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError

Direction = dict[str, Tensor]
"""A vector in the space of a tree's parameters, or of some of them, by name."""

_SHOWN = 4


@dataclass(frozen=True, eq=False)
class WeightTree:
    """The weights of a network, in the order in which it registered them. Tensors that are shared stand there once.

    Attributes:
        parameters: Floating-point parameters: what arithmetic is about.
        buffers: Floating-point buffers, such as running means and variances.
        counters: Other buffers and parameters, such as numbers of batches seen; never mixed.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    counters: Mapping[str, Tensor]

    @staticmethod
    def of(module: nn.Module) -> WeightTree:
        """Copies of a network's weights.

        >>> {name: tuple(w.shape) for name, w in WeightTree.of(nn.Linear(2, 3)).parameters.items()}
        {'weight': (3, 2), 'bias': (3,)}
        """
        kept = set(module.state_dict(keep_vars=True))
        parameters = {name: p.detach().clone() for name, p in module.named_parameters()}
        buffers = {name: b.detach().clone() for name, b in module.named_buffers() if name in kept}
        floating = {name: p for name, p in parameters.items() if p.is_floating_point()}
        rest = {name: p for name, p in parameters.items() if not p.is_floating_point()}
        return WeightTree(
            floating,
            {name: b for name, b in buffers.items() if b.is_floating_point()},
            rest | {name: b for name, b in buffers.items() if not b.is_floating_point()},
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        return {**self.parameters, **self.buffers, **self.counters}

    def load_into(self, module: nn.Module) -> None:
        """Give a network these weights.

        Raises:
            UserError: It is of another architecture.
        """
        check_alike([self, WeightTree.of(module)])
        with torch.no_grad():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                if name in self.tensors:
                    tensor.copy_(self.tensors[name])

    def moved(self, direction: Direction, scale: float = 1.0) -> WeightTree:
        """These weights plus ``scale`` times a direction; what the direction does not name stays."""
        unknown = [name for name in direction if name not in self.parameters]
        if unknown:
            raise UserError(f"the direction names {_some(unknown)}, and the network has no such parameters")
        moved = {name: w + scale * direction[name] if name in direction else w for name, w in self.parameters.items()}
        return self.with_parameters(moved)

    def with_parameters(self, parameters: Mapping[str, Tensor]) -> WeightTree:
        """The same buffers and counters with other parameters."""
        return dataclasses.replace(self, parameters=parameters)

    def to(self, dtype: torch.dtype) -> WeightTree:
        """Parameters and buffers in another precision."""
        return WeightTree(
            {name: w.to(dtype) for name, w in self.parameters.items()},
            {name: b.to(dtype) for name, b in self.buffers.items()},
            self.counters,
        )


def combined(terms: Sequence[tuple[float, WeightTree]]) -> WeightTree:
    """Σ c·tree over pairs of coefficient and tree, for parameters and buffers; counters are the first tree's.

    Running statistics of a combination are not those of its activations: see
    :func:`~holdfast.weights.recalibration.recalibrate`.

    Raises:
        UserError: The trees differ in names or shapes, or hold values that are not finite.

    >>> one = WeightTree({"w": torch.ones(2)}, {}, {})
    >>> combined([(0.25, one), (3.0, one)]).parameters["w"]
    tensor([3.2500, 3.2500])
    """
    trees = [tree for _, tree in terms]
    check_alike(trees)
    for tree in trees:
        check_finite(tree.parameters)

    def total(part: Callable[[WeightTree], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: sum(c * part(tree)[name] for c, tree in terms) for name in part(trees[0])}  # type: ignore[misc]

    return WeightTree(total(lambda tree: tree.parameters), total(lambda tree: tree.buffers), trees[0].counters)


def interpolated(start: WeightTree, end: WeightTree, t: float) -> WeightTree:
    """(1 − t)·start + t·end; outside [0, 1] it extrapolates."""
    return combined([(1 - t, start), (t, end)])


def difference(end: WeightTree, start: WeightTree, only: Callable[[str], bool] = lambda name: True) -> Direction:
    """What leads from ``start`` to ``end`` in the parameters whose names are chosen: a task vector.

    Args:
        end: Weights of one architecture.
        start: Others of the same.
        only: Says of a name whether its parameter takes part.

    Raises:
        UserError: The trees differ in names or shapes.
    """
    check_alike([end, start])
    return {name: w - start.parameters[name] for name, w in end.parameters.items() if only(name)}


def check_alike(trees: Sequence[WeightTree]) -> None:
    """Refuse trees of different architectures.

    Raises:
        UserError: One line that says which tensors differ.
    """
    if not trees:
        raise UserError("there are no weights to combine: give one network at least")
    first = _shapes(trees[0])
    for tree in trees[1:]:
        other = _shapes(tree)
        differ = [
            _told(name, first.get(name), other.get(name))
            for name in {**first, **other}
            if first.get(name) != other.get(name)
        ]
        if differ:
            raise UserError(f"the weights are of different architectures: {_some(differ)}")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not numbers.

    Raises:
        UserError: One line that names them.
    """
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise UserError(f"{_some(bad)} hold values that are not finite: take weights from before training diverged")


def _shapes(tree: WeightTree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tree.tensors.items()}


def _told(name: str, one: tuple[int, ...] | None, other: tuple[int, ...] | None) -> str:
    if one is None or other is None:
        return f"{name} is only in {'the second' if one is None else 'the first'}"
    return f"{name} is {one} and {other}"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
