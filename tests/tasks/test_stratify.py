"""Dealing rows into parts: proportions within strata, and every row equally likely anywhere."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import torch
from hypothesis import given

from holdfast.tasks.stratify import stratified_parts


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=8),
    shares=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
)
def test_every_stratum_is_divided_in_proportion(sizes: list[int], shares: list[float], seed: int) -> None:
    strata = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    strata = strata[torch.randperm(len(strata))]
    parts = stratified_parts(strata, shares, torch.Generator().manual_seed(seed))
    assert len(parts) == sum(sizes)
    for stratum, size in enumerate(sizes):
        counts = torch.bincount(parts[strata == stratum], minlength=len(shares))
        assert len(counts) == len(shares)
        for count, share in zip(counts.tolist(), shares, strict=True):
            assert abs(count - size * share / sum(shares)) <= 1.5 + 0.5 * math.log(1 + size)


def test_every_row_of_a_stratum_is_equally_likely_in_a_part() -> None:
    strata = torch.tensor([0] * 5 + [1] * 2)
    generator = torch.Generator().manual_seed(0)
    hits = torch.stack([stratified_parts(strata, (0.7, 0.3), generator) for _ in range(4000)]).double().mean(dim=0)
    assert (hits - 0.3).abs().max() < 4 * (0.3 * 0.7 / 4000) ** 0.5


def test_one_generator_state_gives_one_result() -> None:
    first, second = (stratified_parts(torch.arange(50) % 3, (1, 1), torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
