"""Incomes of the 1994 census, with sex and race as groups."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from holdfast.core.registry import register
from holdfast.core.task import Task, TaskData
from holdfast.tasks.data_folder import data_set_folder
from holdfast.tasks.table import TableFile


@register
@dataclass(frozen=True, kw_only=True)
class Adult(Task):
    """Who earns more than 50,000 dollars a year? Groups are sex and race, environments the kind of employer.

    Becker, Kohavi, *Adult*, UCI Machine Learning Repository, 1996: 48,842 rows of the census of 1994. The official
    split is random and is not used; the test is on employers that training has not seen. The survey weight ``fnlwgt``
    is no feature, nor are sex and race unless asked for. How rows are encoded and dealt is as of the task ``table``.

    Attributes:
        environment: Column of the environments; rows without a value are left out.
        holdout_environment: Its values to test on, joined by ``|``.
        group_features: Whether sex and race are features.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits.
    """

    environment: str = "workclass"
    holdout_environment: str = "Self-emp-inc|Self-emp-not-inc"
    group_features: bool = False
    data_dir: str | None = None
    data_seed: int = 0

    def load(self) -> TaskData:
        table = TableFile(
            path=str(data_set_folder("adult", self.data_dir)),
            label="income",
            environment=self.environment,
            group=("sex", "race"),
            holdout_environment=self.holdout_environment,
            drop=("fnlwgt",),
            group_features=self.group_features,
            data_seed=self.data_seed,
        )
        question = f"Who earns more than 50,000 dollars, where {self.environment!r} has a value not seen in training?"
        return dataclasses.replace(table.load(), question=question)
