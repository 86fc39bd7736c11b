from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from holdfast.testing import reachable_tensors

SECRET = torch.tensor([41.0, 42.0, 43.0])


@dataclass(frozen=True)
class Holder:
    """Something with an attribute."""

    content: object

    def method(self) -> object:
        return self.content


class Slotted:
    __slots__ = ("content",)

    def __init__(self, content: object) -> None:
        self.content = content


def closing_over(content: object) -> object:
    return lambda: content


def with_default(content: object) -> object:
    return lambda given=content: given


def generating(content: object) -> object:
    def generate() -> object:
        yield 0
        yield content

    generator = generate()
    next(generator)
    return generator


WAYS = {
    "itself": lambda x: x,
    "containers": lambda x: {"a": [({1: x},)]},
    "attribute": Holder,
    "slot": Slotted,
    "closure": closing_over,
    "default": with_default,
    "keyword default": lambda x: Holder(functools.partial(print, end=x)),
    "bound method": lambda x: Holder(x).method,
    "generator": generating,
    "view": lambda x: x[:1],
    "array": lambda x: x.numpy(),
    "view of an array": lambda x: x.numpy()[:1],
    "parameter": torch.nn.Parameter,
    "buffer": lambda x: _module(x),
}


def _module(x: torch.Tensor) -> torch.nn.Module:
    module = torch.nn.Linear(1, 1)
    module.register_buffer("kept", x)
    return module


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_is_found(way: object) -> None:
    found = torch.cat([values.double().flatten() for values in reachable_tensors(way(SECRET.clone()))])
    assert set(SECRET.tolist()) <= set(found.tolist())


def test_what_is_not_held_is_not_found() -> None:
    """Modules and classes are not followed, or a function would reach the globals of its module."""
    assert list(reachable_tensors(closing_over(3))) == []
    assert list(reachable_tensors([Holder, np, torch])) == []
    assert [v.tolist() for v in reachable_tensors(Holder(SECRET[:2].clone()))] == [[41, 42]]


def test_circles_end() -> None:
    circle: list[object] = [SECRET]
    circle.append(circle)
    assert len(list(reachable_tensors(circle))) == 1
