"""An audit: the answer in plain words, the numbers behind it, and nothing about rows that cannot be audited."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Prediction
from holdfast.core.registry import create
from holdfast.core.task import RawTable, Split, TaskData
from holdfast.experiments.audit import QUESTIONS, Audit, Subject, answer, audit
from holdfast.models.mlp import MLP


class ReadsScanner:
    """Class 1 where the scanner is 1, surely."""

    module = None

    def __init__(self, raw: RawTable) -> None:
        self.raw = raw

    def predict(self, rows: Any) -> Prediction:
        frame = self.raw.rows(rows.index) if isinstance(rows, Dataset) else rows
        scanner = torch.tensor(frame["scanner"].to_numpy(), dtype=torch.float64)
        return Prediction(logits=torch.stack([1 - scanner, scanner], dim=1) * 6)


def hospitals(follows: dict[str, float], n: int = 600) -> TaskData:
    rng = np.random.default_rng(0)
    frame, labels, sites = [], [], []
    for place, share in enumerate(follows.values()):
        y = np.arange(n) % 2
        frame.append(pd.DataFrame({"scanner": np.where(rng.random(n) < share, y, 1 - y), "age": rng.normal(size=n)}))
        labels.append(y)
        sites.append(np.full(n, place))
    raw = RawTable(pd.concat(frame, ignore_index=True), ("scanner", "age"))
    y = torch.tensor(np.concatenate(labels))
    x = torch.tensor(raw.frame.to_numpy(), dtype=torch.float32)
    data = Dataset(x, y, Column(torch.tensor(np.concatenate(sites)), tuple(follows)))
    return TaskData("classification", (Split("data", "test", data),), MLP(), classes=("well", "ill"), raw=raw)


def audited(follows: dict[str, float], *names: str) -> Audit:
    task = hospitals(follows)
    assert task.raw is not None
    evaluations = [create(Evaluation, name) for name in names]
    return audit(ReadsScanner(task.raw), task, evaluations, subject=Subject("m", "d", notes=("a note",)))


def test_the_answer_says_how_good_where_worst_and_what_misleads() -> None:
    done = audited({"A": 0.95, "B": 0.9, "C": 0.2})
    sentences = answer(done)
    assert sentences[0].startswith("It is right in 6")
    assert "worst in 'C'" in sentences[0]
    assert "relies on 'scanner', which misleads it in 'C'" in sentences[1]
    assert [finding.subject for finding in done.alarms] == ["scanner"]
    assert list(done.results) == list(QUESTIONS)
    assert done.notes == ("a note",)


def test_a_model_that_holds_gets_no_alarm_and_is_told_so() -> None:
    done = audited({"A": 0.9, "B": 0.85}, "reliance", "performance")
    assert not done.alarms
    assert any("No part of the rows" in sentence for sentence in answer(done))


def test_one_environment_is_said_to_be_too_few() -> None:
    done = audited({"A": 0.9}, "reliance", "performance")
    assert any("All rows come from one environment" in sentence for sentence in answer(done))


def test_numbers_are_found_by_name_and_the_worst_by_its_short_name() -> None:
    done = audited({"A": 0.9, "B": 0.6}, "performance", "worst-group")
    assert done.value("accuracy").value == pytest.approx(0.75, abs=0.03)
    assert done.value("accuracy").environment is None
    worst = done.value("worst-environment")
    assert (worst.environment, worst.value) == ("B", pytest.approx(0.6, abs=0.05))
    assert done.value("worst-environment-accuracy") == worst
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        done.value("acuracy")


def test_equal_seeds_give_equal_audits() -> None:
    one, again = (audited({"A": 0.9, "B": 0.3}) for _ in range(2))
    assert one.results == again.results


def test_everything_becomes_plain_values() -> None:
    import json

    from holdfast.experiments.numbers import plain

    done = audited({"A": 0.9, "B": 0.3})
    content = json.loads(json.dumps(plain(done.as_dict())))
    assert content["answer"] == list(answer(done))
    assert content["alarms"][0]["subject"] == "scanner"


def test_too_few_rows_are_one_line() -> None:
    task = hospitals({"A": 0.9}, n=12)
    assert task.raw is not None
    with pytest.raises(UserError, match="12 test rows: an audit needs at least 20"):
        audit(ReadsScanner(task.raw), task)
