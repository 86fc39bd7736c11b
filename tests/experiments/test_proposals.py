"""Which setting comes next: in its space, on its scale, the same for the same question."""

from __future__ import annotations

import dataclasses
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import MissingExtra, UserError
from holdfast.core.method import Method
from holdfast.core.options import Choice, LogUniform, Uniform
from holdfast.experiments.grid import Chain, Grid
from holdfast.experiments.proposals import (
    PROPOSALS,
    Optuna,
    Proposals,
    Random,
    Sobol,
    Trial,
    proposals_of,
    searched,
    value_of,
)
from holdfast.experiments.search import Limits, best, search, settings
from holdfast.experiments.store import CellStore
from holdfast.training import Adam, Optimizer

MakeGrid = Callable[..., Grid]
NAMES = list(PROPOSALS)


@dataclass(frozen=True, kw_only=True)
class Three(Method):
    name: ClassVar[str] = "three"
    strength: Annotated[float, Uniform(2.0, 3.0)] = 2.5
    kind: Annotated[str, Choice(("a", "b", "c"))] = "a"
    fixed: int = 7
    optimizer: Optimizer = Adam()


@dataclass(frozen=True, kw_only=True)
class Plain(Method):
    name: ClassVar[str] = "plain"
    fixed: int = 7


@pytest.fixture(autouse=True)
def _optuna_is_there() -> None:
    pytest.importorskip("optuna", reason="optuna is an extra")


def asked(proposals: Proposals, chain: Chain, trials: int, worth: Callable[[Chain], float]) -> list[Trial]:
    """The trials of a search in which a setting is worth what a function says."""
    told: list[Trial] = []
    for _ in range(trials):
        setting = proposals.propose(chain, told)
        told.append(Trial(setting, worth(setting)))
    return told


def worth(chain: Chain) -> float:
    """Best at a strength of 2.25 and a learning rate of 0.01."""
    (method,) = chain
    assert isinstance(method, Three)
    return -abs(method.strength - 2.25) - abs(math.log10(method.optimizer.lr) + 2) - (method.kind != "b")


@pytest.mark.parametrize("name", NAMES)
def test_settings_stay_in_their_spaces_and_the_first_is_the_given_one(name: str) -> None:
    trials = asked(proposals_of(name), (Three(),), 40, worth)
    assert trials[0].chain == (Three(),)
    methods = [trial.chain[0] for trial in trials[1:]]
    assert all(isinstance(m, Three) for m in methods)
    assert all(2.0 <= m.strength <= 3.0 and m.kind in "abc" and m.fixed == 7 for m in methods)  # type: ignore[attr-defined]
    assert all(1e-4 <= m.optimizer.lr <= 1e-1 for m in methods)  # type: ignore[attr-defined]
    assert len({m.strength for m in methods}) == 39  # type: ignore[attr-defined]
    assert {m.kind for m in methods} == {"a", "b", "c"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_question_has_the_same_answer(name: str) -> None:
    one = asked(proposals_of(name), (Three(),), 12, worth)
    assert asked(proposals_of(name), (Three(),), 12, worth) == one
    assert asked(proposals_of(name), (Three(),), 7, worth) == one[:7]
    assert proposals_of(name).propose((Three(),), one[:9]) == one[9].chain


@pytest.mark.parametrize("name", NAMES)
def test_methods_of_one_kind_and_places_of_a_chain_are_told_apart(name: str) -> None:
    (first, second) = proposals_of(name).propose((Three(), Three()), [Trial((Three(), Three()), 0.0)])
    assert first != second
    assert proposals_of(name).propose((Plain(),), [Trial((Plain(),), 0.0)] * 3) == (Plain(),)


@given(st.floats(0, 1))
def test_shares_are_turned_into_values_of_the_space(u: float) -> None:
    assert Uniform(2, 4).at(u) == pytest.approx(2 + 2 * u)
    assert math.log10(LogUniform(1e-4, 1e-1).at(u)) == pytest.approx(-4 + 3 * u)
    assert Choice(("a", "b")).at(u) == ("a" if u < 0.5 else "b")


def test_sobol_points_fill_the_space_more_evenly_than_random_ones() -> None:
    from scipy.stats.qmc import discrepancy

    def points(proposals: Proposals) -> Any:
        options = searched((Three(),))
        found = []
        for chain in settings((Three(),), 65, proposals)[1:]:
            strength, rate = value_of(chain, options[0]), value_of(chain, options[2])
            found.append((strength - 2, (math.log10(rate) + 4) / 3))
        return discrepancy(np.array(found))

    assert options_named() == ["strength", "kind", "optimizer.lr", "optimizer.weight_decay"]
    assert points(Sobol()) < 0.2 * np.mean([points(Random(seed)) for seed in range(5)])


def options_named() -> list[str]:
    return [".".join(option.path) for option in searched((Three(),))]


def test_optuna_learns_from_scores_and_random_does_not() -> None:
    def mean_of_last(proposals: Proposals) -> float:
        return float(np.mean([trial.merit for trial in asked(proposals, (Three(),), 60, worth)[-20:]]))

    assert mean_of_last(Optuna()) > mean_of_last(Random()) + 0.5


def test_optuna_takes_failed_trials_and_settings_outside_of_the_space() -> None:
    given_setting = (Three(strength=99.0, kind="z", optimizer=Adam(lr=math.inf, weight_decay=0.0)),)
    told = [Trial(given_setting, 0.1), Trial((Three(),), None)]
    (method,) = Optuna().propose(given_setting, told)
    assert isinstance(method, Three)
    assert 2.0 <= method.strength <= 3.0


@pytest.mark.parametrize("name", NAMES)
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    name: str, store: CellStore, make_grid: MakeGrid, tmp_path: Any
) -> None:
    grid = make_grid("erm,v-rex")
    whole = search(grid, Limits(4), CellStore(tmp_path / "whole"), proposals=proposals_of(name))
    search(grid, Limits(2), store, proposals=proposals_of(name))
    made = len(list(store))

    def count(spec: Any, stage: str, part: float) -> None:
        trained.add(spec.key)

    trained: set[str] = set()
    gone_on = search(grid, Limits(4), store, count, proposals=proposals_of(name))
    assert [[(t.chain, t.merit) for t in trials] for trials in gone_on] == [
        [(t.chain, t.merit) for t in trials] for trials in whole
    ]
    assert len(list(store)) == made + 4
    assert all(len(trials) == 4 for trials in gone_on)


def test_seconds_end_a_method_and_count_what_was_trained_before(store: CellStore, make_grid: MakeGrid) -> None:
    grid = make_grid("erm,v-rex")
    every = search(grid, Limits(5), store)
    spent = [np.cumsum([trial.seconds for trial in trials]) for trials in every]
    assert all(times[0] > 0 for times in spent)
    enough = float(max(times[1] for times in spent)) + 1e-9
    found = search(grid, Limits(5, enough), store)
    for trials, whole, times in zip(found, every, spent, strict=True):
        expected = int((times < enough).sum()) + 1
        assert trials == whole[: min(expected, 5)]
    assert [len(trials) for trials in search(grid, Limits(5, 1e-9), store)] == [1, 1]


def test_the_rule_says_which_is_best(store: CellStore, make_grid: MakeGrid) -> None:
    merits = [
        [trial.merit for trial in search(make_grid("erm", select=rule), Limits(6), store)[0]]
        for rule in ("validation", "worst-environment")
    ]
    assert merits[0] != merits[1]
    assert all(worst <= mean + 1e-9 for mean, worst in zip(*merits, strict=True))  # type: ignore[operator]
    assert len(list(store)) == 6


def test_mistakes_are_one_line(store: CellStore, make_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'sobol'"):
        proposals_of("sobel")
    for seconds in (0.0, -1.0, math.nan):
        with pytest.raises(UserError, match=r"--seconds is .*: it must be above 0"):
            Limits(3, seconds)
    with pytest.raises(UserError, match="plain: no option to search"):
        search(dataclasses.replace(make_grid("erm"), chains=((Plain(),),)), Limits(3), store)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"pip install 'holdfast\[search\]'"):
        proposals_of("optuna")


def test_optuna_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trials = asked(Optuna(), (Three(),), 5, worth)
    assert best(trials).merit is not None
    assert capfd.readouterr() == ("", "")
