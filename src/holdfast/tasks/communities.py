"""Violent crimes per population of communities in the United States, with states as environments."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from holdfast.core.registry import register
from holdfast.core.task import Task, TaskData
from holdfast.tasks.data_folder import data_set_folder
from holdfast.tasks.table import TableFile


@register
@dataclass(frozen=True, kw_only=True)
class Communities(Task):
    """Violent crimes per head in communities of the United States; the test is on states that training has not seen.

    Redmond, *Communities and crime*, UCI Machine Learning Repository, 2009, the normalized version: 1,994 communities
    in 46 states, features and target in [0, 1]. Names and numbers of communities, and the official folds, which are
    random, are no features. States are numbered; those of fewer than ten communities are pooled as ``rare``. How rows
    are encoded and dealt is as of the task ``table``.

    Attributes:
        holdout_environment: Numbers of the states to test on, joined by ``|``; by default California and New Jersey.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits.
    """

    holdout_environment: str = "6|34"
    data_dir: str | None = None
    data_seed: int = 0

    def load(self) -> TaskData:
        table = TableFile(
            path=str(data_set_folder("communities_crime", self.data_dir)),
            label="ViolentCrimesPerPop",
            environment="state",
            holdout_environment=self.holdout_environment,
            kind="regression",
            drop=("county", "community", "communityname", "fold"),
            data_seed=self.data_seed,
        )
        question = "How many violent crimes are there per head, in a state not seen in training?"
        return dataclasses.replace(table.load(), question=question)
