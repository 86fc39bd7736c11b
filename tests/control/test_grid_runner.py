"""The grid runner: its rules against a scalar version, its pictures, and gymnasium's own checks."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.control import Action, Cell, GridRunner, Level, State, draw_level, gymnasium_env
from holdfast.control.grid_runner import ABOVE, BEHIND, STEP_LIMIT, VIEW
from holdfast.control.levels import HEIGHT, PIXELS, WIDTH
from holdfast.core.errors import MissingExtra, UserError

SKY = np.zeros((1, 1, 3), dtype=np.float32)


def runner(layout: int, scenery: int = 0) -> GridRunner:
    return GridRunner(draw_level(np.random.default_rng(layout), np.random.default_rng(scenery)))


def drawn(*rows: str) -> GridRunner:
    """A level from a drawing, the top row first: # solid, ^ deadly, o coin."""
    codes = {".": Cell.EMPTY, "#": Cell.SOLID, "^": Cell.DEADLY, "o": Cell.COIN}
    cells = np.array([[codes[mark] for mark in row] for row in rows[::-1]], dtype=np.int8)
    return GridRunner(Level(cells, np.tile(SKY, (len(rows) * PIXELS, len(rows[0]) * PIXELS, 1))))


def by_the_rules(cells: np.ndarray, state: State, action: Action) -> State:
    """One step with scalars, as the docstring of the runner says it."""

    def solid(row: int, column: int) -> bool:
        inside = 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1]
        return not inside or cells[row, column] == Cell.SOLID

    row, column, rise = state.row, state.column, state.rise
    if cells[row, column] in (Cell.DEADLY, Cell.COIN):
        return state
    if action == Action.JUMP and solid(row - 1, column):
        rise = 3
    if rise > 0:
        row, rise = (row, 0) if solid(row + 1, column) else (row + 1, rise - 1)
    elif not solid(row - 1, column):
        row -= 1
    aside = column + {Action.RIGHT: 1, Action.JUMP: 1, Action.STAY: 0, Action.LEFT: -1}[action]
    return State(row, column if solid(row, aside) else aside, rise)


@settings(max_examples=30)
@given(layout=st.integers(0, 2**32), actions=st.lists(st.sampled_from(Action), max_size=80))
def test_steps_follow_the_rules(layout: int, actions: list[Action]) -> None:
    world = runner(layout)
    state = world.start
    for action in actions:
        expected = by_the_rules(world.level.cells, state, action)
        state = world.step(state, action)
        assert state == expected


def test_a_jump_crosses_five_cells_and_no_more() -> None:
    for gap, survives in ((5, True), (6, False)):
        world = drawn(*["." * (gap + 4)] * 4, "." * (gap + 4), "##" + "^" * gap + "##")
        state = State(1, 1)
        for action in [Action.JUMP] + [Action.RIGHT] * gap:
            state = world.step(state, action)
        assert world.dead(state) is not survives


def test_it_ends_at_the_coin_and_at_what_is_deadly() -> None:
    world = drawn("....", "..^o", "####")
    spikes, coin = world.step(State(1, 1), Action.RIGHT), State(1, 3)
    assert world.dead(spikes)
    assert not world.reached(spikes)
    assert world.reached(coin)
    assert not world.dead(coin)
    assert all(world.step(ended, action) == ended for ended in (spikes, coin) for action in Action)


def test_a_roof_ends_a_jump() -> None:
    world = drawn("....", "####", "....", "....", "####")
    state = world.step(State(1, 0), Action.JUMP)
    assert state == State(2, 1, 2)
    assert world.step(state, Action.STAY) == State(2, 1, 0)


@given(st.integers(0, 2**32))
@settings(max_examples=30)
def test_levels_have_a_start_and_one_coin_at_the_end(seed: int) -> None:
    cells = runner(seed).level.cells
    assert cells.shape == (HEIGHT, WIDTH)
    assert np.nonzero(cells == Cell.COIN)[1].tolist() == [WIDTH - 1]
    row, column = runner(seed).level.start
    assert cells[row, column] == Cell.EMPTY
    assert cells[row - 1, column] == Cell.SOLID
    assert (cells[0] != Cell.EMPTY).all(), "nothing falls out of the world"


def test_equal_seeds_give_equal_levels() -> None:
    one, again, other = runner(3, 4), runner(3, 4), runner(5, 4)
    assert np.array_equal(one.level.cells, again.level.cells)
    assert np.array_equal(one.picture, again.picture)
    assert not np.array_equal(one.level.cells, other.level.cells)


def test_backgrounds_differ_and_change_no_rule() -> None:
    one, other = runner(3, scenery=1), runner(3, scenery=2)
    assert np.array_equal(one.transitions, other.transitions)
    empty = np.repeat(np.repeat(one.level.cells[::-1] == Cell.EMPTY, PIXELS, 0), PIXELS, 1)
    differs = (one.picture != other.picture).any(axis=2)
    assert differs[empty].mean() > 0.99
    assert not differs[~empty].any()


def test_a_view_is_the_picture_around_the_runner() -> None:
    world = runner(3)
    state = State(5, 10, 2)
    view = world.observe(np.array([world.index(state)]))[0]
    assert view.shape == VIEW
    top, left = (HEIGHT - 1 - state.row - ABOVE) * PIXELS, (state.column - BEHIND) * PIXELS
    around = world.picture_of(state)[top : top + VIEW[1], left : left + VIEW[2]].transpose(2, 0, 1)
    assert np.array_equal(view, around)
    assert not np.array_equal(world.picture_of(state), world.picture)


def test_views_tell_the_rise_and_are_black_beyond_the_level() -> None:
    world = runner(3)
    views = world.observe(np.array([world.index(State(5, 0, rise)) for rise in range(4)]))
    assert len({view.tobytes() for view in views}) == 4
    assert (views[:, :, :, : BEHIND * PIXELS] == 0).all()


@given(st.integers(0, 2**32), st.data())
@settings(max_examples=10)
def test_states_are_numbered(layout: int, data: st.DataObject) -> None:
    world = runner(layout)
    index = data.draw(st.integers(0, len(world.transitions) - 1))
    assert world.index(world.state(index)) == index


def test_gymnasium_accepts_it() -> None:
    checker = pytest.importorskip("gymnasium.utils.env_checker", reason="gymnasium is not installed")
    with warnings.catch_warnings():
        # It was not made by gymnasium.make, which is all that the checker has to say.
        warnings.filterwarnings("ignore", message=".*not having a spec")
        checker.check_env(gymnasium_env([runner(1), runner(2)]))


def test_an_episode_ends_with_a_reward_at_the_coin() -> None:
    pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    env = gymnasium_env([runner(1), drawn("....", "...o", "####")])
    _, info = env.reset(options={"level": 1})
    assert info["level"] == 1
    found = [env.step(Action.RIGHT)[1:4] for _ in range(3)]
    assert found == [(0.0, False, False), (0.0, False, False), (1.0, True, False)]
    env.reset(options={"level": 1})
    found = [env.step(Action.STAY)[1:4] for _ in range(STEP_LIMIT)]
    assert found == [(0.0, False, False)] * (STEP_LIMIT - 1) + [(0.0, False, True)]
    assert {env.reset(seed=seed)[1]["level"] for seed in range(9)} == {0, 1}


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    with pytest.raises(UserError, match="no level to play"):
        gymnasium_env([])
    with pytest.raises(UserError, match="no level 7: name one of 0 … 1"):
        gymnasium_env([runner(1), runner(2)]).reset(options={"level": 7})
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingExtra, match=r"holdfast\[control\]"):
        gymnasium_env([runner(1)])
