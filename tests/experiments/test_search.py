"""Random search: the default first, streams by option, failed trials as warnings."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest

from holdfast.commands.request import chains_of
from holdfast.core.errors import HoldfastError, UserError
from holdfast.core.method import Method
from holdfast.core.options import Choice, Uniform
from holdfast.core.registry import create, plugins
from holdfast.experiments.cells import FINAL
from holdfast.experiments.grid import Chain, Grid
from holdfast.experiments.proposals import Random, Trial
from holdfast.experiments.search import Limits, best, merit_of, search
from holdfast.experiments.store import CellStore
from holdfast.training import Adam, Optimizer, SelectionRule
from holdfast.training.records import Record

MakeGrid = Callable[..., Grid]


def sampled(chain: Chain, trial: int) -> Chain:
    """The setting of a trial under random search."""
    return Random().propose(chain, [Trial(chain, None)] * trial)


@dataclass(frozen=True, kw_only=True)
class Before(Method):
    name: ClassVar[str] = "changing"
    strength: Annotated[float, Uniform(2.0, 3.0)] = 1.0
    fixed: int = 7
    optimizer: Optimizer = Adam()


@dataclass(frozen=True, kw_only=True)
class After(Method):
    """The next version of the method: with an option more, in front of the others."""

    name: ClassVar[str] = "changing"
    new: Annotated[str, Choice(("a", "b"))] = "a"
    strength: Annotated[float, Uniform(2.0, 3.0)] = 1.0
    fixed: int = 7
    optimizer: Optimizer = Adam()


@pytest.mark.parametrize("name", plugins("method"))
def test_the_first_trial_is_the_setting_as_given(name: str) -> None:
    chain = (create(Method, name),)
    assert sampled(chain, 0) == chain
    assert sampled(chain, 3) == sampled(chain, 3)


def test_a_new_option_does_not_shift_the_others() -> None:
    for trial in range(1, 5):
        (before,), (after,) = sampled((Before(),), trial), sampled((After(),), trial)
        assert isinstance(before, Before)
        assert isinstance(after, After)
        assert (before.strength, before.optimizer) == (after.strength, after.optimizer)


def test_every_annotated_option_is_drawn_from_its_space_and_no_other_is_touched() -> None:
    drawn = [method for trial in range(1, 200) for method in sampled((After(),), trial) if isinstance(method, After)]
    assert {method.fixed for method in drawn} == {7}
    assert {method.new for method in drawn} == {"a", "b"}
    strengths = [method.strength for method in drawn]
    assert len(set(strengths)) == len(drawn)
    assert 2.0 <= min(strengths) < 2.1
    assert 2.9 < max(strengths) <= 3.0
    rates = sorted(math.log10(method.optimizer.lr) for method in drawn)
    assert -4 <= rates[0] < rates[-1] <= -1
    assert abs(rates[len(rates) // 2] + 2.5) < 0.4, "learning rates are drawn on a logarithmic scale"


def test_the_places_of_a_chain_are_drawn_apart() -> None:
    first, second = sampled((Before(), Before()), 1)
    assert first != second


def test_a_search_leaves_what_was_given_for_options_without_a_space() -> None:
    (method,) = sampled(chains_of("group-dro:groups=label*color")[0], 2)
    assert "groups=label*color" in method.reference


def test_trials_are_cells_of_the_first_seed_and_repeats_are_made_once(store: CellStore, make_grid: MakeGrid) -> None:
    grid = make_grid("erm", seeds=3)
    (trials,) = search(grid, Limits(4), store)
    assert [trial.chain for trial in trials] == [sampled(grid.chains[0], trial) for trial in range(4)]
    assert len(list(store)) == 4
    assert {cell.read("spec")["seed"] for cell in store} == {0}
    assert search(grid, Limits(4), store) == [trials]


def test_options_without_a_space_leave_one_trial(store: CellStore, make_grid: MakeGrid) -> None:
    (trials,) = search(make_grid("erm+dfr"), Limits(1), store)
    assert len(trials) == 1
    assert len({sampled((create(Method, "dfr"),), trial) for trial in range(5)}) == 1


@pytest.mark.parametrize(
    ("method", "message"),
    [("erm", "the loss is not finite"), ("and-mask", "a loss is not finite"), ("pcgrad", "a loss is not finite")],
)
def test_a_trial_that_diverges_is_a_warning_and_the_others_go_on(
    store: CellStore, make_grid: MakeGrid, method: str, message: str
) -> None:
    with pytest.warns(UserWarning, match=rf"trial {method}:optimizer\.lr=\.inf with seed 0 failed: {message}"):
        (trials,) = search(make_grid(f"{method}:optimizer.lr=.inf"), Limits(3), store)
    assert trials[0].merit is None
    assert best(trials) in trials[1:]


def test_when_every_trial_fails_the_search_fails_in_one_line(store: CellStore, make_grid: MakeGrid) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (trials,) = search(make_grid("erm:optimizer.lr=.inf"), Limits(1), store)
    with pytest.raises(HoldfastError, match=r"every trial of erm failed \(1 in all\)"):
        best(trials)


def test_the_best_trial_has_the_highest_merit_and_is_the_first_of_equals() -> None:
    trials = [Trial(chains_of(f"erm:optimizer.lr={lr}")[0], merit) for lr, merit in ((1, 0.5), (2, 0.7), (3, 0.7))]
    assert best(trials) is trials[1]
    assert best([Trial(trials[0].chain, None), *trials[:1]]) is trials[0]


def test_the_merit_is_that_of_the_selected_checkpoint_under_the_rule() -> None:
    def record(step: int, environment: str | None, score: float, role: str = "selection") -> Record:
        return Record(step, "s", role, environment, None, score, 1.0, 10)  # type: ignore[arg-type]

    records = [record(1, "a", 0.9), record(1, "b", 0.1), record(2, "a", 0.6), record(2, "b", 0.3)]
    records += [record(1, None, 1.0, "test"), record(2, None, 0.0, "test")]
    for rule, merit in (("validation", 0.5), ("worst-environment", 0.3), ("oracle", 1.0)):
        assert merit_of(create(SelectionRule, rule), records) == merit
    final = [dataclasses.replace(r, step=FINAL) for r in records if r.step == 2]
    assert merit_of(create(SelectionRule, "validation"), final) == pytest.approx(0.45)


def test_a_rule_that_looks_at_nothing_cannot_choose_a_setting(store: CellStore, make_grid: MakeGrid) -> None:
    with pytest.raises(UserError, match="--select validation"):
        search(make_grid(select="last"), Limits(2), store)
