"""Bicycles hired per hour, with seasons as environments."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from holdfast.core.registry import register
from holdfast.core.task import Task, TaskData
from holdfast.tasks.data_folder import data_set_folder
from holdfast.tasks.table import TableFile


@register
@dataclass(frozen=True, kw_only=True)
class BikeSharing(Task):
    """Bicycles hired in an hour; the test is on a season that training has not seen.

    Fanaee-T, Gama, *Event labeling combining ensemble detectors and background knowledge*, Progress in Artificial
    Intelligence 2014: 17,379 hours of 2011 and 2012 in Washington. ``casual`` and ``registered``, whose sum is the
    target, are no features; nor is the month, which tells the season; the hours of a day are one unit. Groups are the
    years. How rows are encoded and dealt is as of the task ``table``.

    Attributes:
        holdout_environment: Seasons to test on, of 1 (winter) to 4 (autumn), joined by ``|``.
        data_dir: The folder of data sets; None for the one that HOLDFAST_DATA names.
        data_seed: Fixes the splits.
    """

    holdout_environment: str = "1"
    data_dir: str | None = None
    data_seed: int = 0

    def load(self) -> TaskData:
        table = TableFile(
            path=str(data_set_folder("bike_sharing", self.data_dir)),
            label="cnt",
            environment="season",
            group=("yr",),
            unit="dteday",
            holdout_environment=self.holdout_environment,
            kind="regression",
            drop=("instant", "casual", "registered", "mnth"),
            group_features=True,
            data_seed=self.data_seed,
        )
        question = "How many bicycles are hired in an hour, in a season not seen in training?"
        return dataclasses.replace(table.load(), question=question)
