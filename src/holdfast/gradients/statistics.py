"""What an aggregator knows of E gradients: sums over environments, never the E × P matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Stat(StrEnum):
    """A sum over environments that an aggregator may ask for; the sum of gradients is always there."""

    SIGN = "sign"
    SQUARE = "square"
    LOG = "log"


@dataclass(frozen=True)
class Stats:
    """Sums over E environments for one parameter of any shape; g_e is the gradient of environment e.

    Attributes:
        environments: E, how many environments were summed.
        sum: Σ g_e.
        sign: Σ sign(g_e), whole numbers in [-E, E] of any type; None unless asked for.
        square: Σ g_e²; None unless asked for.
        log: Σ log|g_e| over the environments where g_e is not zero; None unless asked for.
        nonzero: In how many environments g_e is not zero; given with ``log``.
        gramian: (E, E) inner products g_e · g_f, environments in the order of their rows' grouping; None unless asked
            for, and lost when statistics are added.
    """

    environments: int
    sum: Tensor
    sign: Tensor | None = None
    square: Tensor | None = None
    log: Tensor | None = None
    nonzero: Tensor | None = None
    gramian: Tensor | None = None

    @staticmethod
    def of(gradient: Tensor, needs: frozenset[Stat]) -> Stats:
        """The statistics of a single environment."""
        zero = gradient == 0
        log = torch.where(zero, 0.0, gradient.abs().log()) if Stat.LOG in needs else None
        return Stats(
            environments=1,
            sum=gradient,
            sign=gradient.sign().to(torch.int32) if Stat.SIGN in needs else None,
            square=gradient.square() if Stat.SQUARE in needs else None,
            log=log,
            nonzero=(~zero).to(torch.int32) if Stat.LOG in needs else None,
        )

    def scaled(self, factor: float) -> Stats:
        """The statistics of factor · g_e, for a positive factor."""
        return Stats(
            environments=self.environments,
            sum=factor * self.sum,
            sign=self.sign,
            square=None if self.square is None else factor**2 * self.square,
            log=None if self.log is None or self.nonzero is None else self.log + math.log(factor) * self.nonzero,
            nonzero=self.nonzero,
        )

    def tensors(self) -> dict[str, Tensor]:
        """The sums that are there, by name."""
        named = {name: getattr(self, name) for name in ("sum", "sign", "square", "log", "nonzero")}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def __add__(self, other: Stats) -> Stats:
        """The statistics of both sets of environments; they must not share one."""
        return Stats(
            environments=self.environments + other.environments,
            sum=self.sum + other.sum,
            sign=_add(self.sign, other.sign),
            square=_add(self.square, other.square),
            log=_add(self.log, other.log),
            nonzero=_add(self.nonzero, other.nonzero),
        )


def _add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None or b is None else a + b
