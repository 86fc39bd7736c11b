"""Samplers: which rows come next. Rows are drawn in blocks of many steps, so that a step costs one slice."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from holdfast.core.data import Batch, Dataset
from holdfast.core.errors import UserError

MAX_ENVIRONMENTS = 16
_BLOCK_ENTRIES = 1 << 20


class Sampler(Protocol):
    """An endless stream of row positions whose place in the stream can be saved."""

    def draw(self) -> Tensor: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Source(Protocol):
    """An endless stream of batches: rows of a data set, rollouts, replay, generated data."""

    def next_batch(self) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Rows:
    """Batches of a data set in memory, as a sampler names their rows."""

    def __init__(self, data: Dataset, sampler: Sampler) -> None:
        self.data, self.sampler = data, sampler
        self.state_dict, self.load_state_dict = sampler.state_dict, sampler.load_state_dict

    def next_batch(self) -> Batch:
        return self.data.batch(self.sampler.draw())


class BlockSampler:
    """Draws (T, B) rows at a time from a generator; subclasses say how.

    Its state is the generator's state before the current block and the place within it.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._next_block()

    def draw(self) -> Tensor:
        """(B,) positions of the next step's rows."""
        if self._place == len(self._block):
            self._next_block()
        self._place += 1
        return self._block[self._place - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self._before, "place": self._place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self._next_block()
        self._place = int(state["place"])

    def _next_block(self) -> None:
        self._before = self.generator.get_state()
        self._block = self.make_block()
        self._place = 0

    def make_block(self) -> Tensor:
        """(T, B) row positions of the next T steps."""
        raise NotImplementedError


class EnvironmentSampler(BlockSampler):
    """The same number of rows from each of min(E, 16) environments at every step.

    With more environments, 16 of them are drawn afresh for each step. Within an environment rows come in random order;
    when all have been used they come again in another. Where every one of them is a single row, B
    of them are taken, in random order likewise.

    Args:
        environment: (N,) codes; −1 (unknown) is one more environment.
        batch_size: B; each of K environments gives max(1, B // K) rows.
        generator: The random stream.
        most: At most this many environments per step.
    """

    def __init__(
        self, environment: Tensor, batch_size: int, generator: torch.Generator, most: int = MAX_ENVIRONMENTS
    ) -> None:
        codes, self._counts = _codes_and_counts(environment.cpu())
        if int(self._counts.max()) == 1 and len(codes) > most > 1:
            codes, self._counts = _codes_and_counts(torch.zeros_like(codes))
        self._environments = len(self._counts)
        self._per_step = min(self._environments, most)
        self.rows_each = max(1, batch_size // self._per_step)
        self._steps = self._block_length()
        shown = self.rows_each * self._steps * self._per_step / self._environments
        passes = torch.ceil(0.99 * shown / self._counts).long()  # a hundredth of a pass may wrap around
        self._rows = torch.arange(len(codes)).repeat_interleave(passes[codes])
        passed = torch.arange(len(self._rows)) - torch.searchsorted(self._rows, self._rows)
        self._pass = codes[self._rows] * passes.max() + passed
        self._lengths = passes * self._counts
        self._starts = self._lengths.cumsum(0) - self._lengths
        super().__init__(generator)

    def make_block(self) -> Tensor:
        shuffled = self._shuffle()
        chosen, turn = self._choose()
        within = (turn[..., None] * self.rows_each + torch.arange(self.rows_each)) % self._lengths[chosen][..., None]
        return shuffled[self._starts[chosen][..., None] + within].flatten(1)

    def _block_length(self) -> int:
        """Steps that show the largest environment about once, but at least 64, within bounds on memory."""
        uses = self._environments / self._per_step
        epoch = math.ceil(int(self._counts.max()) / self.rows_each * uses)
        widest = max(self._environments, self._per_step * self.rows_each)
        return max(1, min(max(epoch, 64), _BLOCK_ENTRIES // widest))

    def _shuffle(self) -> Tensor:
        """Row positions, environment after environment, pass after pass through its rows, each in random order."""
        random = torch.randperm(len(self._rows), generator=self.generator)
        return self._rows[random[torch.argsort(self._pass[random], stable=True)]]

    def _choose(self) -> tuple[Tensor, Tensor]:
        """(T, K) environments of each step, and how often each was chosen before in this block."""
        if self._per_step == self._environments:
            chosen = torch.arange(self._environments).expand(self._steps, -1)
            return chosen, torch.arange(self._steps)[:, None].expand_as(chosen)
        keys = torch.rand(self._steps, self._environments, generator=self.generator)
        chosen = keys.argsort(dim=1)[:, : self._per_step]
        used = torch.zeros(self._steps, self._environments, dtype=torch.int64).scatter_(1, chosen, 1)
        return chosen, (used.cumsum(0) - used).gather(1, chosen)


class EnvironmentCyclingSampler(EnvironmentSampler):
    """All rows of a batch from one environment; every environment once in each pass, in an order of its own.

    Within an environment rows come as in :class:`EnvironmentSampler`; one with fewer rows than a batch shows some of
    them more than once in it. Environments have equal parts in the training, whatever their sizes.

    Args:
        environment: (N,) codes; −1 (unknown) is one more environment.
        batch_size: B.
        generator: The random stream.
    """

    def __init__(self, environment: Tensor, batch_size: int, generator: torch.Generator) -> None:
        super().__init__(environment, batch_size, generator, most=1)

    def _block_length(self) -> int:
        """Whole passes through the environments, so that none is missed where blocks meet."""
        return self._environments * math.ceil(super()._block_length() / self._environments)

    def _choose(self) -> tuple[Tensor, Tensor]:
        passes = self._steps // self._environments
        chosen = torch.rand(passes, self._environments, generator=self.generator).argsort(dim=1)
        turn = torch.arange(passes)[:, None].expand_as(chosen)
        return chosen.reshape(-1, 1), turn.reshape(-1, 1)


class BalancedSampler(BlockSampler):
    """Every row of a batch from a group drawn uniformly, then from that group uniformly, with replacement.

    The sampler of group DRO and of group-balanced training (Sagawa et al. 2020, arXiv:1911.08731). Rows of unknown
    group are left out.

    Args:
        groups: (N,) codes.
        batch_size: B.
        generator: The random stream.

    Raises:
        UserError: No group is known.
    """

    def __init__(self, groups: Tensor, batch_size: int, generator: torch.Generator) -> None:
        known = torch.nonzero(groups.cpu() >= 0).squeeze(1)
        codes = groups.cpu()[known]
        if len(known) == 0:
            raise UserError("no row has a known group to balance over: name other columns")
        _, self._counts = torch.unique(codes, return_counts=True)
        self._rows = known[torch.argsort(codes, stable=True)]
        self._starts = self._counts.cumsum(0) - self._counts
        self.batch_size = batch_size
        super().__init__(generator)

    def make_block(self) -> Tensor:
        shape = (64, self.batch_size)
        groups = torch.randint(len(self._counts), shape, generator=self.generator)
        fraction = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return self._rows[self._starts[groups] + (fraction * self._counts[groups]).long()]


class RepeatingSampler:
    """Passes through the rows in random order in which each row comes so many times.

    Args:
        counts: (N,) int64, not negative, not all zero.
        batch_size: B.
        generator: The random stream.
    """

    def __init__(self, counts: Tensor, batch_size: int, generator: torch.Generator) -> None:
        self._rows = torch.arange(len(counts)).repeat_interleave(counts.cpu())
        self._places = EnvironmentSampler(torch.zeros_like(self._rows), batch_size, generator)
        self.state_dict, self.load_state_dict = self._places.state_dict, self._places.load_state_dict

    def draw(self) -> Tensor:
        """(B,) positions of the next step's rows."""
        return self._rows[self._places.draw()]


def _codes_and_counts(values: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) codes from 0 in the order of the values, and how often each occurs."""
    _, codes, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return codes, counts
