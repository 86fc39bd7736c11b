"""Group inference: groups of rows from what a reference network makes of them, where no column names them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.options import Range
from holdfast.core.registry import Plugin
from holdfast.core.task import Kind

First = Annotated[float, Range(1e-4, 1.0)]
"""The part of a cell's budget that its reference is trained with."""


class GroupInference(Plugin):
    """A way to groups; a frozen dataclass whose fields are its options, ``first`` among them.

    Attributes:
        kinds: The kinds of task it can do.
        first: The reference's part of the budget.
    """

    family: ClassVar[str] = "inference"
    kinds: ClassVar[tuple[Kind, ...]] = ("classification",)
    first: First

    def check(self, rows: Dataset) -> None:
        """Refuse, before anything is trained, rows that cannot be grouped as asked.

        Args:
            rows: The labelled training rows.

        Raises:
            UserError: One line with the mend.
        """

    def infer(self, rows: Dataset, reference: nn.Module, seed: int) -> Column:
        """The group of each row.

        Args:
            rows: N labelled rows.
            reference: A trained network, where its weights are.
            seed: Of whatever is random.
        """
        raise NotImplementedError


def require_groups(column: Column, what: str) -> Column:
    """The column, if it tells rows apart.

    Raises:
        UserError: All rows are in one group.
    """
    if len(column.present()) < 2:
        raise UserError(
            f"group inference {what}: all {len(column)} rows are in one group ({_only(column)}): change first=…, the "
            "reference's part of the budget, or infer by another way"
        )
    return column


def _only(column: Column) -> str:
    return ", ".join(column.names[code] for code in column.present()) or "none"
