"""The planner against forward search, and the states that its expert visits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.control import Action, GridRunner, Plan, State, draw_level, solvable_level, visited_states
from holdfast.control import planner as planner_module


def plan_of(seed: int) -> Plan:
    return Plan(GridRunner(draw_level(np.random.default_rng(seed), np.random.default_rng(0))))


def steps_to_coin(runner: GridRunner, start: State) -> float:
    """Forward breadth-first search, state by state, through the public step."""
    frontier, seen, steps = {start}, {start}, 0
    while frontier:
        if any(map(runner.reached, frontier)):
            return steps
        frontier = {runner.step(state, action) for state in frontier for action in Action} - seen
        seen |= frontier
        steps += 1
    return float("inf")


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.data())
def test_distances_are_those_of_a_forward_search(seed: int, data: st.DataObject) -> None:
    plan = plan_of(seed)
    free = np.flatnonzero((plan.runner.level.cells != 1).ravel().repeat(4))
    for state in [plan.start, *data.draw(st.lists(st.sampled_from(free.tolist()), min_size=3, max_size=3))]:
        assert plan.distances[state] == steps_to_coin(plan.runner, plan.runner.state(state))


@pytest.mark.parametrize("seed", range(5))
def test_best_actions_are_all_that_lose_no_step_and_no_others(seed: int) -> None:
    plan = solvable_level(seed)
    for state in np.random.default_rng(seed).choice(np.flatnonzero(plan.undecided), 40):
        after = [steps_to_coin(plan.runner, plan.runner.step(plan.runner.state(state), action)) for action in Action]
        assert plan.best[state].tolist() == [steps == min(after) for steps in after]
        assert plan.actions[state] == after.index(min(after))
        assert plan.targets[state].tolist() == [(steps == min(after)) / after.count(min(after)) for steps in after]


def test_nothing_is_best_where_nothing_matters() -> None:
    plan = solvable_level(0)
    decided = ~plan.undecided
    assert decided[plan.runner.ended].all()
    assert not plan.best[decided].any()
    assert (plan.targets[decided] == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_every_level_that_is_given_out_can_be_solved(seed: int) -> None:
    plan = solvable_level(seed, "any")
    state = plan.start
    for _ in range(int(plan.distances[state])):
        state = plan.runner.transitions[state, plan.actions[state]]
    assert plan.runner.won[state]


def test_about_a_seventh_of_levels_cannot_be_solved() -> None:
    """The docstring says 15 % of 2,000; of 300 the standard deviation is 2.1 %."""
    share = np.mean([not plan_of(seed).solvable for seed in range(300)])
    assert 0.153 - 4.5 * 0.021 < share < 0.153 + 4.5 * 0.021


def test_visits_are_reachable_undecided_and_those_of_the_generator() -> None:
    plan = solvable_level(0)
    states, again, other = (visited_states(plan, 300, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(states, again)
    assert not np.array_equal(states, other)
    assert len(states) == 300
    assert plan.undecided[states].all()
    reachable = {plan.start}
    while more := set(plan.runner.transitions[list(reachable)].ravel().tolist()) - reachable:
        reachable |= more
    assert set(states.tolist()) <= reachable


def test_a_tenth_of_the_actions_leave_the_shortest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = solvable_level(0)
    on_the_way, state = [], plan.start
    while not plan.runner.won[state]:
        on_the_way.append(state)
        state = plan.runner.transitions[state, plan.actions[state]]
    states = visited_states(plan, 1000, np.random.default_rng(0))
    assert 0.1 < 1 - np.isin(states, on_the_way).mean() < 0.9
    assert np.isin(on_the_way, states).all(), "visits are spread over whole runs"
    monkeypatch.setattr(planner_module, "NOISE", 0.0)
    assert np.isin(visited_states(plan, 100, np.random.default_rng(0)), on_the_way).all()


def test_visits_come_in_no_order_of_time() -> None:
    plan = solvable_level(0)
    left = plan.distances[visited_states(plan, 1000, np.random.default_rng(0))]
    assert abs(np.corrcoef(left[1:], left[:-1])[0, 1]) < 4.5 / 1000**0.5
