from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.selection import BalancedSampler, EnvironmentCyclingSampler, EnvironmentSampler, Rows, Sampler


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def codes(*sizes: int) -> Tensor:
    """Environment e with sizes[e] rows, in shuffled order."""
    ordered = torch.cat([torch.full((size,), e) for e, size in enumerate(sizes)])
    return ordered[torch.randperm(len(ordered), generator=rng(7))]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 70), st.integers(0, 1000))
def test_each_environment_gives_the_same_share_of_every_batch(sizes: list[int], batch: int, seed: int) -> None:
    environment = codes(*sizes)
    sampler = EnvironmentSampler(environment, batch, rng(seed))
    single = len(sizes) > 16 and max(sizes) == 1
    present = min(len(sizes), batch if single else 16)
    for _ in range(20):
        counts = Counter(environment[sampler.draw()].tolist())
        assert len(counts) == present
        assert set(counts.values()) == {max(1, batch // present)}


@pytest.mark.parametrize("sizes", [(60,), (60, 60), (60, 12, 3)])
def test_an_epoch_shows_every_row_of_the_largest_environment_once(sizes: tuple[int, ...]) -> None:
    """Rows of a smaller one are shown equally often, to within one."""
    environment = codes(*sizes)
    each = 6
    sampler = EnvironmentSampler(environment, each * len(sizes), rng())
    for _ in range(3):
        seen = Counter(torch.cat([sampler.draw() for _ in range(60 // each)]).tolist())
        assert len(seen) == sum(sizes)
        for e, size in enumerate(sizes):
            shown = {seen[row] for row in (environment == e).nonzero()[:, 0].tolist()}
            assert shown <= {60 // size, -(-60 // size)}


def test_epochs_are_in_different_orders() -> None:
    sampler = EnvironmentSampler(codes(40), 40, rng())
    first, second = sampler.draw(), sampler.draw()
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(40))
    assert first.tolist() != second.tolist()


def test_of_many_environments_sixteen_are_drawn_afresh_and_equally_often() -> None:
    environment = codes(*[8] * 24)
    sampler = EnvironmentSampler(environment, 32, rng())
    shown: Counter[int] = Counter()
    choices = set()
    for _ in range(1200):
        present = frozenset(environment[sampler.draw()].tolist())
        assert len(present) == 16
        shown.update(present)
        choices.add(present)
    assert len(choices) > 1000
    # each environment is in 1200 · 16/24 = 800 batches, with standard deviation (1200 · 2/3 · 1/3)^½ = 16.3
    assert all(abs(count - 800) < 4.5 * 16.3 for count in shown.values())


def test_unknown_is_an_environment() -> None:
    environment = torch.tensor([-1, -1, 0, 0, 0, 0])
    drawn = EnvironmentSampler(environment, 4, rng()).draw()
    assert Counter(environment[drawn].tolist()) == {-1: 2, 0: 2}


@pytest.mark.parametrize("group", [0, 1, 2])
def test_balanced_draws_are_uniform_over_groups_and_within_them(group: int) -> None:
    groups = codes(50, 5, 2)
    sampler = BalancedSampler(groups, 100, rng())
    drawn = torch.cat([sampler.draw() for _ in range(300)])
    assert stats.chisquare(groups[drawn].bincount(minlength=3)).pvalue > 1e-3
    own = (groups == group).nonzero()[:, 0]
    assert stats.chisquare(drawn.bincount(minlength=57)[own]).pvalue > 1e-3


def test_balanced_draws_differ_from_step_to_step_and_leave_out_the_unknown() -> None:
    groups = torch.tensor([-1] * 10 + [3] * 20 + [9] * 2)
    sampler = BalancedSampler(groups, 16, rng())
    steps = [tuple(sampler.draw().tolist()) for _ in range(200)]
    assert len(set(steps)) == 200
    assert {row for step in steps for row in step} == set(range(10, 32))


def test_balance_over_no_group_is_refused() -> None:
    with pytest.raises(UserError, match="no row has a known group"):
        BalancedSampler(torch.full((4,), -1), 2, rng())


SAMPLERS: dict[str, Callable[[torch.Generator], Sampler]] = {
    "environments": lambda generator: EnvironmentSampler(codes(30, 7), 8, generator),
    "many environments": lambda generator: EnvironmentSampler(codes(*[5] * 20), 32, generator),
    "cycling": lambda generator: EnvironmentCyclingSampler(codes(30, 7, 5), 8, generator),
    "balanced": lambda generator: BalancedSampler(codes(30, 7), 8, generator),
}


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
@given(place=st.integers(0, 150))
def test_a_saved_stream_goes_on_where_it_was(make: Callable[[torch.Generator], Sampler], place: int) -> None:
    whole, other = make(rng(1)), make(rng(2))
    for _ in range(place):
        whole.draw()
    other.load_state_dict({name: getattr(v, "clone", lambda v=v: v)() for name, v in whole.state_dict().items()})
    for _ in range(100):
        assert torch.equal(whole.draw(), other.draw())


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_the_stream_is_the_generators(make: Callable[[torch.Generator], Sampler]) -> None:
    same, again, other = make(rng(1)), make(rng(1)), make(rng(2))
    first = same.draw()
    assert torch.equal(first, again.draw())
    assert not torch.equal(first, other.draw())


def test_rows_are_batches_of_a_data_set() -> None:
    data = Dataset(
        torch.arange(6.0)[:, None], torch.arange(6), Column(codes(4, 2), ("a", "b")), index=torch.arange(6) + 50
    )
    source, sampler = (EnvironmentSampler(data.environment.codes, 4, rng()) for _ in range(2))
    batch, rows = Rows(data, source).next_batch(), sampler.draw()
    assert batch.x[:, 0].tolist() == batch.labels.tolist() == rows.tolist()
    assert batch.index.tolist() == (rows + 50).tolist()
    assert torch.equal(batch.environment, data.environment.codes[rows])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 70), st.integers(0, 1000))
def test_cycling_shows_every_environment_once_in_each_pass(sizes: list[int], batch: int, seed: int) -> None:
    environment = codes(*sizes)
    sampler = EnvironmentCyclingSampler(environment, batch, rng(seed))
    for _ in range(12):
        drawn = [environment[sampler.draw()].tolist() for _ in sizes]
        assert all(len(codes) == batch and len(set(codes)) == 1 for codes in drawn)
        assert sorted(codes[0] for codes in drawn) == list(range(len(sizes)))


def test_cycling_shows_all_rows_of_an_environment_before_one_again() -> None:
    environment = codes(12, 30)
    sampler = EnvironmentCyclingSampler(environment, 6, rng())
    drawn = [sampler.draw() for _ in range(20)]
    for e, turns in ((0, 2), (1, 5)):
        rows = torch.cat([batch for batch in drawn if environment[batch[0]] == e][:turns])
        assert rows.sort().values.tolist() == (environment == e).nonzero()[:, 0].tolist()


def test_passes_of_cycling_are_in_different_orders() -> None:
    environment = codes(*[4] * 8)
    sampler = EnvironmentCyclingSampler(environment, 4, rng())
    passes = {tuple(int(environment[sampler.draw()[0]]) for _ in range(8)) for _ in range(50)}
    assert len(passes) == 50
