"""The evaluation ``interventions``: hand-made predictors get what they must, and bad input a line."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluations.factors import Reads, task_of

from holdfast.core.artifacts import ImageGrid, Matrix, Table
from holdfast.core.data import Column
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Measurement, Prediction, Result
from holdfast.core.task import TaskData
from holdfast.evaluations.interventions import Interventions
from holdfast.statistics import clopper_pearson, simultaneous_level


def run(predictor: Reads, task: TaskData, **options: object) -> Result:
    return Interventions(**options).evaluate(predictor, task, np.random.default_rng(0))  # type: ignore[arg-type]


def numbers(result: Result) -> dict[str, Measurement]:
    found = {m.metric: m for m in result.measurements}
    assert len(found) == len(result.measurements)
    return found


def test_a_model_that_reads_the_color_only() -> None:
    found = numbers(run(Reads(0, 1), task_of()))
    values = {name: m.value for name, m in found.items()}
    assert (values["effect share of color"], values["effect share of label"]) == (pytest.approx(1), pytest.approx(0))
    assert (values["flip rate of color"], values["flip rate of label"]) == (1, 0)
    assert (values["follow rate of color"], values["preference for color"]) == (1, 1)
    assert values["counterfactual accuracy of label"] == pytest.approx(0.5 / 3)
    assert values["counterfactual accuracy of color"] == pytest.approx(0.5 / 3)
    assert values["randomised AUC of color"] == pytest.approx(0.5)
    assert (values["largest effect of color"], values["largest effect of label"]) == (pytest.approx(1), 0)
    assert values["AUC by color alone"] == pytest.approx((1 + 0.9 - 0.1 / 3) / 2)
    assert values["AUC by label alone"] == pytest.approx(0.5, abs=0.05)
    for metric in ("accuracy", "AUC"):
        assert values[f"reliance on color, {metric}"] == pytest.approx(1)
        assert values[f"reliance on label, {metric}"] == pytest.approx(0, abs=1e-9)


def test_a_model_that_reads_the_label_only() -> None:
    found = numbers(run(Reads(1, 0), task_of()))
    values = {name: m.value for name, m in found.items()}
    assert (values["effect share of color"], values["effect share of label"]) == (pytest.approx(0), pytest.approx(1))
    assert (values["flip rate of color"], values["flip rate of label"]) == (0, 1)
    assert (values["follow rate of color"], values["preference for color"]) == (0, 0)
    assert (values["counterfactual accuracy of color"], values["counterfactual accuracy of label"]) == (1, 1)
    assert values["randomised AUC of color"] == pytest.approx(1)
    assert values["AUC by label alone"] == pytest.approx(1)
    assert values["AUC by color alone"] == pytest.approx(0.5, abs=0.05)
    assert values["reliance on color, accuracy"] == pytest.approx(0, abs=1e-9)
    assert values["reliance on label, accuracy"] == pytest.approx(1)
    assert {name for name, m in found.items() if m.higher_is_better} == {
        "effect share of label",
        "largest effect of label",
        "AUC by label alone",
        "flip rate of label",
        "reliance on label, accuracy",
        "reliance on label, AUC",
        "counterfactual accuracy of label",
        "counterfactual accuracy of color",
        "randomised AUC of color",
    }
    assert found["follow rate of color"].n == 200
    assert found["follow rate of color"].low == 0
    both = clopper_pearson(0, 200, simultaneous_level(0.95, 2))
    assert found["follow rate of color"].high == pytest.approx(both.high)


def test_half_of_each() -> None:
    task = task_of()
    result = run(Reads(0.5, 0.5), task)
    found = numbers(result)
    assert found["effect share of color"].value == pytest.approx(0.5)
    assert found["effect share of label"].value == pytest.approx(0.5)
    data = task.splits[1].data
    color = data.attributes["color"].codes
    conflict = color != data.labels  # of two equal probabilities the first class is predicted
    assert found["follow rate of color"].value == pytest.approx((color < data.labels)[conflict].double().mean().item())
    assert found["preference for color"].value == found["follow rate of color"].value
    bare = found["effect share of color"]
    assert bare.low is None
    assert "all rows say the same" in bare.note


class ReadsEither(Reads):
    """The label in every other four rows, the color in the others."""

    def __init__(self) -> None:
        super().__init__(1, 0)

    def predict(self, rows: Any) -> Prediction:
        own, other = Reads(1, 0).predict(rows).outputs, Reads(0, 1).predict(rows).outputs
        return Prediction(logits=torch.where(rows.index[:, None] // 4 % 2 == 0, own, other))


def test_rows_that_differ_have_intervals_around_the_closed_form() -> None:
    found = numbers(run(ReadsEither(), task_of()))
    with_color, without = (0.9 + 1) / 2, (0.25 + 1) / 2
    wanted = {
        "effect share of color": 0.5,
        "flip rate of label": 0.5,
        "counterfactual accuracy of color": (1 + 0.5 / 3) / 2,
        "follow rate of color": 0.5,
        "preference for color": 0.5,
        "reliance on color, accuracy": (with_color - without) / (with_color - 0.25),
        "reliance on label, accuracy": (0.5 * (1 - 0.25)) / (0.75 - 0.25),
    }
    for name, value in wanted.items():
        m = found[name]
        assert m.value == pytest.approx(value)
        assert m.low is not None
        assert m.high is not None
        assert value - 0.12 < m.low < value < m.high < value + 0.12
    area, randomised = found["reliance on color, AUC"], found["randomised AUC of color"]
    assert 0 < area.low < area.value < area.high < 1  # type: ignore[operator]
    assert 0.5 < randomised.low < randomised.value < randomised.high < 1  # type: ignore[operator]


def test_pictures_and_confusion() -> None:
    result = run(Reads(0, 1), task_of())
    of_factors = [a.name for a in result.artifacts]
    assert of_factors == [
        "effect shares", "factors side by side",
        "label: what setting it does", "label: rows under other values",
        "color: what setting it does", "color: rows under other values", "color: confusion",
    ]  # fmt: skip
    side_by_side = result.artifacts[1]
    assert isinstance(side_by_side, Table)
    assert [row[0] for row in side_by_side.rows] == ["label", "color"]
    assert side_by_side.columns[:3] == ("factor", "effect share", "largest effect")
    assert side_by_side.rows[0][side_by_side.columns.index("follow rate")] == ""  # the label goes with itself
    grids = {a.name: a for a in result.artifacts if isinstance(a, ImageGrid)}
    grid = grids["color: rows under other values"]
    assert len(grid.images) == len(grid.captions) == 12
    assert grid.captions[0].startswith("red → a (100 %)")
    assert sorted(grid.captions[:4]) == [
        "blue → c (100 %)", "green → b (100 %)", "grey → d (100 %)", "red → a (100 %)",
    ]  # fmt: skip
    first = np.array(grid.images[:4])
    assert (first[:, ..., 0] == first[0, ..., 0]).all()  # the same label
    assert (first[:, ..., 2] == first[0, ..., 2]).all()  # and the same noise
    assert len({float(v) for v in first[:, 0, 0, 1]}) == 4
    matrix = next(a for a in result.artifacts if isinstance(a, Matrix) and a.name == "color: confusion")
    assert matrix.values == tuple(map(tuple, np.eye(4).tolist()))
    (finding,) = [f for f in result.findings if f.subject == "color"]
    assert finding.alarm
    assert "100.0 % follow it" in finding.sentence
    assert not any(f.alarm for f in run(Reads(1, 0), task_of()).findings)


def test_the_order_of_rows_does_not_matter() -> None:
    task = task_of()
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    shuffled = dataclasses.replace(task.splits[1], data=task.splits[1].data.take(order))
    other = dataclasses.replace(task, splits=(task.splits[0], shuffled))
    one, two = numbers(run(Reads(0.4, 0.6), task)), numbers(run(Reads(0.4, 0.6), other))
    assert {k: m.value for k, m in one.items()} == {k: pytest.approx(m.value, abs=1e-9) for k, m in two.items()}


def test_a_factor_with_one_value_is_left_out_with_a_line() -> None:
    task = task_of(associations={"color": (0, 1, 2, 3), "flat": ()})
    result = run(Reads(1, 0), task)
    assert not any("flat" in m.metric for m in result.measurements)
    assert any("'flat' is left out: it has one value" in f.sentence for f in result.findings)


def test_a_factor_that_is_not_drawn_is_refused() -> None:
    with pytest.raises(UserError, match="cannot set 'hue' in this task: it draws label, color"):
        run(Reads(1, 0), task_of(), factors=("hue",))
    with pytest.raises(UserError, match="draws rows from no factors"):
        run(Reads(1, 0), task_of(render=None), factors=("color",))
    only = run(Reads(0, 1), task_of(), factors=("color",))
    assert {m.metric.split()[-1] for m in only.measurements if "share" in m.metric} == {"color"}


def test_without_drawing_or_conflicts_or_accuracy_it_says_so() -> None:
    nothing = run(Reads(1, 0), task_of(render=None))
    assert nothing.measurements == ()
    assert "nothing is changed" in nothing.findings[0].sentence
    found = run(Reads(0, 1), task_of(test=(1.0,)))
    rate = numbers(found)["follow rate of color"]
    assert np.isnan(rate.value)
    assert (rate.n, rate.note) == (0, "no conflicting rows")
    assert any("nothing to follow" in f.sentence for f in found.findings)
    at_chance = numbers(run(Reads(0, 1), task_of(train=0.25)))["reliance on color, accuracy"]
    assert np.isnan(at_chance.value)
    assert "not surely away from chance" in at_chance.note


def test_a_factor_that_changes_nothing_and_rows_of_unknown_value() -> None:
    task = task_of(associations={"color": (0, 1, 2, 3), "flat": ()})
    data = task.splits[1].data
    mute = Column(torch.arange(400) % 2, ("x", "y"))
    color = Column(data.attributes["color"].codes.clone(), data.attributes["color"].names)
    color.codes[:40] = -1
    splits = (
        dataclasses.replace(
            task.splits[0],
            data=dataclasses.replace(task.splits[0].data, attributes={**task.splits[0].data.attributes, "flat": mute}),
        ),
        dataclasses.replace(task.splits[1], data=dataclasses.replace(data, attributes={"color": color, "flat": mute})),
    )
    result = run(Reads(0, 1), dataclasses.replace(task, splits=splits))
    assert any("'flat' is left out: drawing rows again" in f.sentence for f in result.findings)
    assert numbers(result)["flip rate of color"].n == 360


def test_units_widen_intervals() -> None:
    task = task_of()
    data = dataclasses.replace(task.splits[1].data, unit=torch.arange(400) // 20)
    grouped = dataclasses.replace(task, splits=(task.splits[0], dataclasses.replace(task.splits[1], data=data)))
    rows, units = (numbers(run(Reads(0.4, 0.6), t))["counterfactual accuracy of label"] for t in (task, grouped))
    assert rows.value == pytest.approx(units.value)
    assert (rows.unit, units.unit) == ("row", "unit")
