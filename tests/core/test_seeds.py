from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from holdfast.core.seeds import numpy_rng, seed_for, torch_rng

names = st.lists(st.text(max_size=6) | st.integers(), max_size=3)


@given(st.integers(0, 2**62), names)
def test_seeds_fit_every_generator_and_repeat(seed: int, path: list[str | int]) -> None:
    value = seed_for(seed, *path)
    assert 0 <= value < 2**63
    assert value == seed_for(seed, *path)


def test_streams_are_told_apart_by_seed_name_and_depth() -> None:
    paths: list[tuple[str | int, ...]] = [(), ("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ("a", 2), ("b", "a")]
    seeds = {seed_for(seed, *path) for seed in range(3) for path in paths}
    assert len(seeds) == 3 * len(paths)


def test_seeds_never_change_between_releases() -> None:
    assert seed_for(0, "batches") == 1699441995747717822
    assert seed_for(7, "stage", 2) == 6656772908790599427


def test_generators_of_a_stream_draw_the_same_and_of_two_streams_differ() -> None:
    def draw(name: str) -> Tensor:
        return torch.rand(4, generator=torch_rng(0, name))

    assert torch.equal(draw("x"), draw("x"))
    assert not torch.equal(draw("x"), draw("y"))
    assert numpy_rng(0, "x").random(4).tolist() == numpy_rng(0, "x").random(4).tolist()
    assert numpy_rng(0, "x").random() != numpy_rng(1, "x").random()


def test_neighbouring_seeds_are_uncorrelated() -> None:
    draws = torch.stack([torch.randn(2000, generator=torch_rng(seed, "x")) for seed in range(4)])
    correlation = torch.corrcoef(draws) - torch.eye(4)
    assert float(correlation.abs().max()) < 5 / 2000**0.5
