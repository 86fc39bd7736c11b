"""What a model relies on: contributions in closed form, alarms where a part does not hold, none where it does."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Prediction, Result
from holdfast.core.task import Kind, RawTable, Split, TaskData
from holdfast.evaluations.reliance import Reliance
from holdfast.models.mlp import MLP
from holdfast.statistics.means import mean_over_units

SURE = 1 - 1e-9


class Reads:
    """Gives class 1 the probability in a column, or predicts the column."""

    module = None

    def __init__(self, column: str, kind: Kind = "classification") -> None:
        self.column, self.kind = column, kind

    def predict(self, rows: Any) -> Prediction:
        values = torch.tensor(rows[self.column].to_numpy(), dtype=torch.float64)
        if self.kind == "regression":
            return Prediction(mean=values)
        p = values.clamp(1 - SURE, SURE)
        return Prediction(logits=torch.stack([1 - p, p], dim=1).log())


def task_of(frame: pd.DataFrame, kind: Kind = "classification", unit: Any = None, weight: Any = None) -> TaskData:
    y = torch.tensor(frame["y"].to_numpy(), dtype=torch.int64 if kind == "classification" else torch.float64)
    names, codes = np.unique(frame["site"], return_inverse=True)
    data = Dataset(
        torch.zeros(len(frame), 1),
        y,
        Column(torch.tensor(codes), tuple(names)),
        unit=None if unit is None else torch.tensor(unit),
        weight=None if weight is None else torch.tensor(weight),
    )
    raw = RawTable(frame.drop(columns=["y", "site"]), ())
    classes = ("no", "yes") if kind == "classification" else ()
    return TaskData(kind, (Split("data", "test", data),), MLP(), classes=classes, raw=raw)


def sites(rng: np.random.Generator, follows: dict[str, float], n: int = 1000) -> pd.DataFrame:
    """``z`` equals a balanced label with a probability that depends on the site; ``w`` is noise."""
    parts = []
    for site, share in follows.items():
        y = np.arange(n) % 2
        z = np.where(rng.random(n) < share, y, 1 - y)
        parts.append(pd.DataFrame({"y": y, "z": z, "w": rng.normal(size=n), "site": site}))
    return pd.concat(parts, ignore_index=True)


def contributions(result: Result) -> dict[tuple[str, str], tuple[float, ...]]:
    return {(row[0], row[1]): row[3:] for row in result.artifacts[1].rows}  # type: ignore[union-attr]


def alarms(result: Result) -> list[str]:
    return [finding.subject for finding in result.findings if finding.alarm]


def test_contributions_have_their_closed_form() -> None:
    frame = sites(np.random.default_rng(0), {"A": 1.0, "B": 0.0, "C": 0.5}, n=4000)
    result = Reliance(rounds=4, max_rows=12_000).evaluate(Reads("z"), task_of(frame), np.random.default_rng(1))
    found = contributions(result)
    assert found["z", "A"][0] == pytest.approx(50, abs=1.5)  # an exchanged z is the label's in half of the rows
    assert found["z", "B"][0] == pytest.approx(-50, abs=1.5)
    assert found["z", "C"][0] == pytest.approx(0, abs=2.5)
    assert found["z", "C"][3] == pytest.approx(50, abs=1.5)
    assert found["w", "A"] == (0, 0, 0, 0)
    assert alarms(result) == ["z"]
    assert "misleads it in 'B'" in result.findings[0].sentence


def test_a_part_that_vanishes_raises_an_alarm_only_where_it_is_used() -> None:
    rng = np.random.default_rng(0)
    vanishing = sites(rng, {"A": 0.95, "B": 0.5})
    result = Reliance().evaluate(Reads("z"), task_of(vanishing), rng)
    assert alarms(result) == ["z"]
    assert "says next to nothing in 'B'" in result.findings[0].sentence
    unused = vanishing.assign(z=np.where(vanishing["site"] == "B", 0.5, vanishing["z"]))
    assert not alarms(Reliance().evaluate(Reads("z"), task_of(unused), rng))


def test_a_part_that_holds_everywhere_raises_none_and_is_named() -> None:
    rng = np.random.default_rng(0)
    result = Reliance().evaluate(Reads("z"), task_of(sites(rng, {"A": 0.95, "B": 0.75})), rng)
    (finding,) = result.findings
    assert not finding.alarm
    assert "'z' (up to" in finding.sentence


def test_in_one_environment_only_harm_can_show() -> None:
    rng = np.random.default_rng(0)
    assert alarms(Reliance().evaluate(Reads("z"), task_of(sites(rng, {"B": 0.2})), rng)) == ["z"]
    result = Reliance().evaluate(Reads("z"), task_of(sites(rng, {"A": 0.9})), rng)
    assert not alarms(result)
    assert "nothing can contradict it" in result.findings[0].sentence


def test_use_of_pure_noise_raises_alarms_at_most_at_the_level() -> None:
    wrong = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        frame = sites(rng, {"A": 0.5, "B": 0.5, "C": 0.5}, n=150)
        wrong += bool(alarms(Reliance(least=0.0).evaluate(Reads("z"), task_of(frame), rng)))
    assert wrong <= 10  # 5 are expected at most; 11 or more have probability 1 %


def test_regression_in_shares_of_the_labels_variance() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=6000)
    frame = pd.DataFrame({"y": y, "z": y, "site": np.where(np.arange(6000) < 3000, "A", "B")})
    frame.loc[frame["site"] == "B", "z"] *= -1
    found = contributions(Reliance().evaluate(Reads("z", "regression"), task_of(frame, "regression"), rng))
    assert found["z", "A"][0] == pytest.approx(200, rel=0.05)  # E(z − z')² = 2
    assert found["z", "B"][0] == pytest.approx(-200, rel=0.05)  # 4 − 2


def test_a_region_that_only_carries_the_color_is_not_named() -> None:
    rng = np.random.default_rng(0)
    frame = sites(rng, {"A": 0.95, "B": 0.05})
    rgb = torch.eye(3)[torch.tensor(frame["z"].to_numpy())]
    x = rgb[:, :, None, None] * torch.tensor(rng.uniform(0.2, 1.0, (len(frame), 1, 6, 6)), dtype=torch.float32)
    task = task_of(frame)
    split = dataclasses.replace(task.splits[0], data=dataclasses.replace(task.splits[0].data, x=x))

    class Redness:
        module = None

        def predict(self, rows: Any) -> Prediction:
            red, green, _ = rows.x.mean(dim=(2, 3)).T
            return Prediction(logits=torch.stack([10 * red, 10 * green], dim=1))

    result = Reliance().evaluate(Redness(), dataclasses.replace(task, splits=(split,), raw=None), rng)
    assert contributions(result)["top left", "B"][2] < 0
    assert alarms(result) == ["color"]


def test_two_shortcuts_are_both_named() -> None:
    rng = np.random.default_rng(0)
    frame = sites(rng, {"A": 0.95, "B": 0.05})
    frame["other"] = np.where(rng.random(len(frame)) < 0.05, 1 - frame["z"], frame["z"])

    class Both(Reads):
        def predict(self, rows: Any) -> Prediction:
            return super().predict(rows.assign(z=0.6 * rows["z"] + 0.4 * rows["other"]))

    assert alarms(Reliance().evaluate(Both("z"), task_of(frame), rng)) == ["z", "other"]


def test_rows_of_one_unit_count_once() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=50)
    one = mean_over_units(values, np.ones(50), np.arange(50))
    repeated = mean_over_units(np.repeat(values, 4), np.full(200, 0.25), np.repeat(np.arange(50), 4))
    assert repeated == pytest.approx(one)
    assert one[1] == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_small_and_unknown_environments_are_left_out_and_large_ones_thinned() -> None:
    rng = np.random.default_rng(0)
    frame = pd.concat([sites(rng, {"A": 0.9}), sites(rng, {"B": 0.9}, n=10), sites(rng, {"C": 0.9}, n=50)])
    result = Reliance(max_rows=200).evaluate(Reads("z"), task_of(frame.reset_index(drop=True)), rng)
    rows = {(m.environment, m.n) for m in result.measurements}
    assert rows == {("A", 100), ("C", 50)}


def test_nothing_is_said_where_nothing_can_be_exchanged_or_no_environment_is_large_enough() -> None:
    rng = np.random.default_rng(0)
    few = sites(rng, {"A": 0.9}, n=10)
    assert Reliance().evaluate(Reads("z"), task_of(few), rng) == Result()


def test_rows_exchange_within_their_environment_only() -> None:
    rng = np.random.default_rng(0)
    frame = sites(rng, {"A": 0.9, "B": 0.9}).assign(z=lambda f: (f["site"] == "A").astype(float))
    found = contributions(Reliance().evaluate(Reads("z"), task_of(frame), rng))
    assert found["z", "A"] == found["z", "B"] == (0, 0, 0, 0)  # everybody there has the same


def test_a_part_that_is_hardly_used_where_it_vanishes_raises_no_alarm() -> None:
    rng = np.random.default_rng(0)
    frame = sites(rng, {"A": 0.95, "B": 0.5}, n=5000)
    faint = frame["site"] == "B"
    frame["z"] = frame["z"].astype(float).where(~faint, 0.5 + 0.1 * (frame["z"] - 0.5))
    result = Reliance(max_rows=10_000).evaluate(Reads("z"), task_of(frame), rng)
    value, _, _, use = contributions(result)["z", "B"]
    assert 0 < use < contributions(result)["z", "A"][3] / 2
    assert abs(value) < 1
    assert not alarms(result)


def test_what_is_said_of_unchanged_rows_is_asked_once() -> None:
    class Counts(Reads):
        asked = 0

        def predict(self, rows: Any) -> Prediction:
            self.asked += 1
            return super().predict(rows)

    rng = np.random.default_rng(0)
    model = Counts("w")
    Reliance(rounds=3).evaluate(model, task_of(sites(rng, {"A": 0.9, "B": 0.9})), rng)
    assert model.asked == 1 + 3 * 2  # once as they are, and each round for both columns
