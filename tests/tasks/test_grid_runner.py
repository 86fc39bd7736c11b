"""The task grid-runner: its levels, its labels, and that its simulator plays the levels of its rows."""

from __future__ import annotations

import pytest
import torch

from holdfast.control import Action, solvable_level
from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData
from holdfast.tasks.grid_runner import ACTIONS, GridRunner


def small(**options: int) -> GridRunner:
    usual = {"levels": 3, "rows_per_level": 40, "selection_levels": 2, "test_levels": 2, "held_out_rows": 30}
    return GridRunner(**{**usual, **options})


def of_level(data: TaskData, split: str, code: int) -> torch.Tensor:
    rows = data.split(split).data
    assert isinstance(rows.x, torch.Tensor)
    return rows.x[rows.environment.codes == code]


def test_published_sizes() -> None:
    data = GridRunner().load()
    sizes = {split.name: (len(split.data), len(split.data.environment.present())) for split in data.splits}
    assert sizes == {"train": (64_000, 64), "selection": (6400, 32), "test": (12_800, 64)}
    assert data.input_shape == (3, 14, 18)
    assert data.classes == ACTIONS == tuple(action.name.lower() for action in Action)


def test_splits_share_no_level_and_no_picture() -> None:
    data = small().load()
    levels = [set(split.data.environment.codes.tolist()) for split in data.splits]
    assert levels == [{0, 1, 2}, {3, 4}, {5, 6}]
    assert all(torch.equal(split.data.units, split.data.environment.codes) for split in data.splits)
    pictures = [{x.numpy().tobytes() for x in split.data.batch().x} for split in data.splits]  # type: ignore[union-attr]
    assert not pictures[0] & pictures[1] | pictures[0] & pictures[2] | pictures[1] & pictures[2]
    layouts = {solvable_level(0, "grid-runner", role, k).runner.level.cells.tobytes() for role in ("train", "test") for k in range(1, 65)}  # fmt: skip  # noqa: E501
    assert len(layouts) == 128


def test_labels_are_the_planners_actions_in_what_is_seen() -> None:
    rows = small().load().split("test").data
    for number, code in ((1, 5), (2, 6)):
        plan = solvable_level(0, "grid-runner", "test", number)
        states = torch.arange(len(plan.undecided))[torch.from_numpy(plan.undecided)].numpy()
        known = {x.tobytes(): int(plan.actions[s]) for x, s in zip(plan.runner.observe(states), states, strict=True)}
        assert len(known) == len(states), "what is seen tells the state"
        here = rows.environment.codes == code
        assert isinstance(rows.x, torch.Tensor)
        assert [known[x.numpy().tobytes()] for x in rows.x[here]] == rows.labels[here].tolist()


def test_a_level_stays_the_same_among_more() -> None:
    few, more = small().load(), small(levels=5).load()
    assert torch.equal(of_level(few, "train", 1), of_level(more, "train", 1))
    assert torch.equal(of_level(few, "test", 5), of_level(more, "test", 7))
    assert few.fingerprint() == small().load().fingerprint() != small(data_seed=1).load().fingerprint()


def test_the_simulator_plays_the_levels_of_the_rows() -> None:
    data = small().load()
    assert data.simulator is not None
    first: list[torch.Tensor] = []

    def policy(seen: torch.Tensor) -> torch.Tensor:
        first.append(seen)
        return torch.full((len(seen),), int(Action.STAY))

    found = data.simulator.rollouts(policy, "train")
    assert found.success.tolist() == [False] * 3
    assert found.steps.tolist() == [160] * 3
    for code in range(3):
        assert (of_level(data, "train", code) == first[0][code]).flatten(1).all(dim=1).any(), "runs begin where rows do"


def test_pictures_draw() -> None:
    assert small().load().pictures[0].to_html().count("<img") == 5


@pytest.mark.parametrize("options", ["levels=0", "rows_per_level=-1", "test_levels=0", "held_out_rows=1.5", "rows=3"])
def test_refusals(options: str) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, f"grid-runner:{options}")
    assert "\n" not in str(caught.value)
