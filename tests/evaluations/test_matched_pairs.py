"""Matched pairs: an effect of the attribute is recovered, one of the features beside it is not taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Prediction, Result
from holdfast.core.task import Split, TaskData
from holdfast.evaluations.matched_pairs import MatchedPairs
from holdfast.models.mlp import MLP
from holdfast.tasks.table import TableFile


class FromInputs:
    module = None

    def predict(self, rows: Any) -> Prediction:
        return Prediction(logits=torch.stack([torch.zeros(len(rows)), rows.x[:, 0]], dim=1))


def evaluate(x: Tensor, y: Tensor, sex: Tensor, unit: Tensor | None = None, **options: Any) -> Result:
    data = Dataset(x, y, Column.constant(len(x)), {"sex": Column(sex, ("f", "m"))}, unit=unit)
    task = TaskData("classification", (Split("data", "test", data),), MLP(), classes=("no", "yes"), groups=("sex",))
    return MatchedPairs(**options).evaluate(FromInputs(), task, np.random.default_rng(0))


def draw(n: int = 4000, effect: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` is (logit, age); age differs between the sexes and decides the logit, on which sex has an effect too."""
    rng = torch.Generator().manual_seed(seed)
    sex = torch.randint(2, (n,), generator=rng)
    age = torch.randn(n, generator=rng) + 0.8 * sex
    y = (torch.rand(n, generator=rng) < torch.sigmoid(age)).long()
    return torch.stack([age + effect * sex, age], dim=1), y, sex


def test_what_age_does_is_not_taken_for_sex() -> None:
    x, y, sex = draw()
    matched = evaluate(x, y, sex).measurements[0]
    assert abs(matched.value) < 0.03
    unmatched = torch.sigmoid(x[sex == 1, 0]).mean() - torch.sigmoid(x[sex == 0, 0]).mean()
    assert unmatched > 0.1


def test_an_effect_of_sex_is_recovered() -> None:
    x, y, sex = draw(effect=1.0)
    # Matching is on age alone: the logit, which holds the effect, is no feature here.
    data = Dataset(x[:, 1:], y, Column.constant(len(x)), {"sex": Column(sex, ("f", "m"))})
    task = TaskData("classification", (Split("data", "test", data),), MLP(), classes=("no", "yes"), groups=("sex",))

    class Effect:
        module = None

        def predict(self, rows: Any) -> Prediction:
            logit = rows.x[:, 0] + rows.attributes["sex"].codes
            return Prediction(logits=torch.stack([torch.zeros(len(rows)), logit], dim=1))

    result = MatchedPairs().evaluate(Effect(), task, np.random.default_rng(0))
    age = x[sex == 1, 1]
    expected = (torch.sigmoid(age + 1) - torch.sigmoid(age)).mean().item()
    (male,) = [m for m in result.measurements if m.group == "sex=m"]
    assert male.value == pytest.approx(expected if "yes" in male.metric else -expected, abs=0.01)
    assert male.low is not None
    assert male.high is not None
    assert male.low < male.value < male.high
    assert "'sex'" in result.findings[0].sentence


def test_no_effect_is_named_at_most_at_the_level() -> None:
    wrong = sum(
        bool(evaluate(*draw(400, seed=seed)[:2], torch.randint(2, (400,)), least=0.0).findings) for seed in range(60)
    )
    assert wrong <= 8  # 3 are expected at most


def test_too_few_pairs_and_no_attribute_give_nothing() -> None:
    x, y, sex = draw(100)
    assert not evaluate(x, y, torch.zeros_like(sex)).measurements
    assert not evaluate(x, y, sex, caliper=0.0).measurements


def test_rows_are_not_matched_on_the_attribute_itself(tmp_path: Path) -> None:
    x, y, sex = draw(600)
    frame = pd.DataFrame({"age": x[:, 1].numpy(), "sex": np.array(["f", "m"])[sex], "ill": np.array(["n", "y"])[y]})
    frame.assign(ward=np.array(["a", "b"])[np.arange(600) % 2]).to_csv(tmp_path / "t.csv", index=False)
    table = TableFile(
        path=str(tmp_path / "t.csv"), label="ill", environment="ward", group=("sex",), group_features=True
    )
    task = table.whole()

    class Constant:
        module = None

        def predict(self, rows: Any) -> Prediction:
            return Prediction(logits=torch.zeros(len(rows), 2))

    pairs = {m.group: m.n for m in MatchedPairs().evaluate(Constant(), task, np.random.default_rng(0)).measurements}
    assert pairs["sex=f"] > 200
    assert pairs["sex=m"] > 150
