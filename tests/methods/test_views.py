"""What methods see: the rest of a task is out of their reach."""

from __future__ import annotations

import pytest

from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.registry import create, plugins
from holdfast.core.task import HiddenFromMethod, Needs, Task, TaskData, training_view
from holdfast.testing import reachable_tensors, toy_task

ROLES = ("train", "selection", "holdout", "calibration", "unlabelled", "pool", "test")


@pytest.mark.parametrize("name", plugins("method"))
def test_a_method_sees_what_it_declares(name: str) -> None:
    needs = create(Method, name).needs()
    view = training_view(toy_task(columns=("declared", "other")), needs, Ledger())
    for role in ROLES:
        if role in needs.roles:
            data = view.role(role)
            assert set(data.attributes) == set(needs.columns)
            assert (len(data.environment.present()) > 1) == needs.environments
        else:
            with pytest.raises(HiddenFromMethod, match=f"did not declare the role '{role}'"):
                view.role(role)


@pytest.mark.parametrize("name", ["colored-digits", "linreg-patchwork", "spirals-shortcuts"])
def test_views_of_the_real_tasks_share_no_memory_with_them(name: str) -> None:
    data = create(Task, name).load()
    view = training_view(data, everything(data), Ledger())
    own = {tensor.data_ptr() for split in data.splits for tensor in reachable_tensors(split.data)}
    reached = list(reachable_tensors(view))
    assert len(reached) > 3
    assert not own & {tensor.data_ptr() for tensor in reached}


def everything(data: TaskData) -> Needs:
    roles = tuple(role for role in ROLES if role != "test" and data.with_role(role))
    return Needs(roles=roles, columns=tuple(data.splits[0].data.attributes))
