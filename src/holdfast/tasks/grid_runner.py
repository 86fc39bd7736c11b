"""Behavioral cloning in the grid runner: act like an exact planner in levels never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from holdfast.control import Action, GridRunnerSimulator, Plan, solvable_level, visited_states
from holdfast.core.artifacts import Artifact, ImageGrid, nested
from holdfast.core.data import Column, Dataset
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import numpy_rng
from holdfast.core.task import Role, Split, Task, TaskData
from holdfast.models.mlp import MLP

ACTIONS = ("right", "jump", "stay", "left")
SHOWN = 6
assert [action.name.lower() for action in Action] == list(ACTIONS)


@register
@dataclass(frozen=True, kw_only=True)
class GridRunner(Task):
    """Behavioral cloning on a side-scrolling grid world whose levels differ in their backgrounds, too.

    The stand-in for CoinRun in section 3.3 of Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, *Learning explanations
    that are hard to vary*, ICLR 2021, arXiv:2009.00329, with an exact planner in place of a trained expert. A row is a
    state that the planner visits when a tenth of its actions are random, its label the planner's action: the first of
    a shortest way in the order right, jump, stay, left. States are few, so that a row is often there several times:
    about 110 of 1,000 in a level differ. An environment, and a unit, is a level: splits share no level.

    Inputs are (N, 3, 14, 18) in [0, 1]: nine by seven cells around the runner, of 2 × 2 pixels. The simulator plays
    the levels of each split by its name.

    Attributes:
        levels: Training levels.
        rows_per_level: States of each.
        selection_levels: Levels to choose a checkpoint on.
        test_levels: Levels of the test.
        held_out_rows: States of each level of selection and test.
        data_seed: Fixes levels and states; a level stays the same when there are more of them.
    """

    levels: Annotated[int, Range(low=1)] = 64
    rows_per_level: Annotated[int, Range(low=1)] = 1000
    selection_levels: Annotated[int, Range(low=1)] = 32
    test_levels: Annotated[int, Range(low=1)] = 64
    held_out_rows: Annotated[int, Range(low=1)] = 200
    data_seed: int = 0

    def load(self) -> TaskData:
        roles: tuple[tuple[Role, int, int], ...] = (
            ("train", self.levels, self.rows_per_level),
            ("selection", self.selection_levels, self.held_out_rows),
            ("test", self.test_levels, self.held_out_rows),
        )
        names = tuple(f"{role} {k}" for role, levels, _ in roles for k in range(1, levels + 1))
        plans: dict[str, list[Plan]] = {}
        splits: list[Split] = []
        first_level = first_row = 0
        for role, levels, rows in roles:
            plans[role] = [self._level(role, k) for k in range(1, levels + 1)]
            x, y = self._states(role, plans[role], rows)
            level = torch.arange(first_level, first_level + levels).repeat_interleave(rows)
            index = torch.arange(first_row, first_row + len(level))
            data = Dataset(x, y, Column(level, names), unit=level, index=index)
            splits.append(Split(role, role, data, shifted=role != "train"))
            first_level, first_row = first_level + levels, first_row + len(level)
        runners = {role: [plan.runner for plan in of_role] for role, of_role in plans.items()}
        return TaskData(
            kind="classification",
            splits=tuple(splits),
            model=MLP(hidden=(256, 256)),
            steps=2000,
            classes=ACTIONS,
            question="What would the planner do, in levels whose ground and background were never seen?",
            stable="gaps, spikes, roofs, steps and the coin around the runner",
            shortcut="the background, which tells the level and the place in it",
            pictures=(_pictures(plans["train"], plans["test"]),),
            simulator=GridRunnerSimulator(runners),
        )

    def _level(self, role: Role, number: int) -> Plan:
        return solvable_level(self.data_seed, self.name, role, number)

    def _states(self, role: Role, plans: Sequence[Plan], rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What is seen in states of each level, and the planner's actions there."""
        rngs = [numpy_rng(self.data_seed, self.name, role, k, "states") for k in range(1, len(plans) + 1)]
        states = [visited_states(plan, rows, rng) for plan, rng in zip(plans, rngs, strict=True)]
        pairs = list(zip(plans, states, strict=True))
        seen = np.concatenate([plan.runner.observe(here) for plan, here in pairs])
        actions = np.concatenate([plan.actions[here] for plan, here in pairs])
        return torch.from_numpy(seen), torch.from_numpy(actions)


def _pictures(train: Sequence[Plan], test: Sequence[Plan]) -> Artifact:
    """Whole levels with the runner at the start."""
    shown = [(f"train {k}", plan) for k, plan in enumerate(train[:SHOWN], 1)]
    shown += [(f"test {k}", plan) for k, plan in enumerate(test[:SHOWN], 1)]
    return ImageGrid(
        "Levels",
        images=tuple(nested(plan.runner.picture_of(plan.runner.start).tolist()) for _, plan in shown),
        captions=tuple(f"{name}: {plan.distances[plan.start]:.0f} steps" for name, plan in shown),
        columns=2,
        caption="Brown is solid, red and white deadly, yellow the coin, blue the runner, who sees 9 × 7 cells.",
    )
