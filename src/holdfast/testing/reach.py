"""What code that holds an object can get at."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType

import numpy as np
import torch
from torch import Tensor


def reachable_tensors(root: object) -> Iterator[Tensor]:
    """Every tensor that can be reached from an object, as all the values of its storage, one dimension.

    Followed are attributes, containers, closures, defaults, bound arguments, arrays and what they are views of; not
    modules and classes, which everything reaches.

    >>> whole = torch.arange(5)
    >>> [values.tolist() for values in reachable_tensors({"part": whole[:2]})]
    [[0, 1, 2, 3, 4]]
    """
    seen: dict[int, object] = {}  # holds what it has seen, lest an id be given twice
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, (ModuleType, type)):
            continue
        seen[id(item)] = item
        if isinstance(item, Tensor):
            yield torch.empty(0, dtype=item.dtype).set_(item.detach().untyped_storage())
        elif isinstance(item, np.ndarray) and item.dtype.kind in "biuf":
            yield torch.tensor(item.ravel())
        if isinstance(item, np.ndarray):
            stack.append(item.base)
        if isinstance(item, FunctionType):
            stack += [item.__closure__, item.__defaults__, item.__kwdefaults__]
        else:
            stack += gc.get_referents(item)
