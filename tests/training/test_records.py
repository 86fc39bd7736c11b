from __future__ import annotations

import pytest
import torch

from holdfast.core.data import Column, Dataset
from holdfast.training.records import record

ENVIRONMENT = Column(torch.tensor([0, 0, 2, -1]), ("a", "b", "c"))
GROUPS = Column(torch.tensor([1, 1, 1, 0]), ("g", "h"))


def data(y: torch.Tensor) -> Dataset:
    return Dataset(torch.zeros(4, 1), y, ENVIRONMENT)


def scores(
    outputs: torch.Tensor, y: torch.Tensor, kind: str
) -> dict[tuple[str | None, str | None], tuple[float, float, int]]:
    found = record(7, outputs, "val", "selection", data(y), kind, GROUPS)
    assert {(r.step, r.split, r.role) for r in found} == {(7, "val", "selection")}
    return {(r.environment, r.group): (r.score, r.loss, r.n) for r in found}


def test_accuracy_and_log_loss_of_all_of_environments_and_of_groups() -> None:
    y = torch.tensor([0, 1, 1, 0])
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    right, wrong = -torch.tensor([2.0, 0.0]).log_softmax(0)
    found = scores(logits, y, "classification")
    mean = pytest.approx(float(right + wrong) / 2)
    assert found == {
        (None, None): (0.5, mean, 4),
        ("a", None): (0.5, mean, 2),
        ("c", None): (1.0, pytest.approx(float(right)), 1),
        (None, "g"): (0.0, pytest.approx(float(wrong)), 1),
        (None, "h"): (pytest.approx(2 / 3), pytest.approx(float(2 * right + wrong) / 3), 3),
    }


def test_one_logit_decides_at_zero() -> None:
    y = torch.tensor([0, 1, 1, 0])
    found = scores(torch.tensor([[-1.0], [1.0], [-0.1], [0.1]]), y, "classification")
    assert found[None, None][0] == 0.5


def test_regression_scores_by_minus_the_squared_error() -> None:
    found = scores(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([1.0, 4.0, 3.0, 4.0]), "regression")
    assert found[None, None][:2] == (-1, 1)
    assert found["a", None][:2] == (-2, 2)


def test_rows_count_by_their_weights_and_what_weighs_nothing_has_no_record() -> None:
    weight = torch.tensor([3.0, 1.0, 0.0, 4.0])
    rows = Dataset(torch.zeros(4, 1), torch.tensor([0, 1, 1, 0]), ENVIRONMENT, weight=weight)
    outputs = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    found = {
        (r.environment, r.group): r for r in record(0, outputs, "val", "selection", rows, "classification", GROUPS)
    }
    assert {key: (r.score, r.n) for key, r in found.items()} == {
        (None, None): (3 / 8, 4),
        ("a", None): (3 / 4, 2),
        (None, "g"): (0.0, 1),
        (None, "h"): (3 / 4, 3),
    }
    wrong, right = (-torch.tensor([0.0, 2.0]).double().log_softmax(0)).tolist()
    assert found["a", None].loss == pytest.approx((3 * right + wrong) / 4)
