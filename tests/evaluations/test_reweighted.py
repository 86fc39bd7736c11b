"""Independent of the label: closed forms, and no alarm where a model is right alike for every combination."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.evaluations.told import Says

from holdfast.core.data import Column, Dataset
from holdfast.core.evaluation import Result
from holdfast.core.task import RawTable, Split, TaskData
from holdfast.evaluations.reweighted import Reweighted
from holdfast.models.mlp import MLP


def evaluate(
    frame: pd.DataFrame,
    y: np.ndarray,
    outputs: np.ndarray,
    weight: Any = None,
    attributes: tuple[str, ...] = (),
    **options: Any,
) -> Result:
    labels, n = torch.as_tensor(y), len(frame)
    data = Dataset(
        torch.zeros(n, 1),
        labels,
        Column.constant(n),
        {name: Column.constant(n) for name in attributes},
        weight=None if weight is None else torch.tensor(weight),
    )
    classification = not labels.is_floating_point()
    classes = ("no", "yes") if classification else ()
    kind: Any = "classification" if classification else "regression"
    task = TaskData(kind, (Split("data", "test", data),), MLP(), classes=classes, raw=RawTable(frame, ()))
    return Reweighted(**options).evaluate(Says(outputs), task, np.random.default_rng(0))


def follows_color(n_aligned: int = 900, n_conflicting: int = 100) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Balanced classes; nine rows in ten have the color of their label, and the model reads the color alone."""
    y = np.repeat([0, 1, 0, 1], [n_aligned, n_aligned, n_conflicting, n_conflicting])
    color = np.repeat([0, 1, 1, 0], [n_aligned, n_aligned, n_conflicting, n_conflicting])
    frame = pd.DataFrame({"color": np.array(["red", "blue"])[color], "k": np.arange(len(y)) % 7})
    return frame, y, np.stack([1 - color, color], axis=1) * 5.0


def lines(result: Result) -> dict[str, tuple[float, ...]]:
    return {str(row[0]): row[2:] for row in result.artifacts[0].rows}  # type: ignore[union-attr]


def test_a_model_that_reads_the_color_falls_to_chance() -> None:
    assert not evaluate(*follows_color()).findings
    result = evaluate(*follows_color(), attributes=("color",))
    now, then, rise, low, high = lines(result)["color"]
    assert (now, then) == pytest.approx((0.1, 0.5))
    assert low < rise < high
    assert lines(result)["k"][2] == pytest.approx(0, abs=0.01)
    assert [f.subject for f in result.findings] == ["color"]
    assert "from 90.0 % to 50.0 %" in result.findings[0].sentence


def test_weights_of_rows_count_as_repeated_rows() -> None:
    frame, y, said = follows_color(90, 10)
    rows = np.concatenate([np.arange(len(y)), np.flatnonzero(y == 1)])
    repeated = evaluate(frame.iloc[rows].reset_index(drop=True), y[rows], said[rows])
    weighted = evaluate(frame, y, said, weight=np.where(y == 1, 2.0, 1.0))
    assert lines(weighted)["color"][:3] == pytest.approx(lines(repeated)["color"][:3])


def test_a_model_that_is_right_alike_everywhere_loses_nothing() -> None:
    frame, y, _ = follows_color()
    excluded = 0
    for seed in range(60):
        wrong = np.random.default_rng(seed).random(len(y)) < 0.1
        said = np.where(wrong, 1 - y, y)
        result = evaluate(frame, y, np.stack([1 - said, said], axis=1) * 5.0, replicates=60)
        _, _, _, low, high = lines(result)["color"]
        excluded += not low < 0 < high
        assert not result.findings
    assert excluded <= 7  # the two columns' intervals hold together at 95 %: 3 are expected at most


def test_regression_by_quarters() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    frame = pd.DataFrame({"z": y + 1.5 * rng.normal(size=4000)})
    result = evaluate(frame, y, frame["z"].to_numpy(), attributes=("z",))
    assert lines(result)["z"][3] > 0.2
    assert "squared error would rise" in result.findings[0].sentence


def test_columns_of_many_levels_and_combinations_too_rare_are_left_out() -> None:
    frame, y, said = follows_color(100, 2)
    frame["name"] = [f"n{k}" for k in range(len(y))]
    assert set(lines(evaluate(frame, y, said))) == {"k"}
    assert evaluate(frame[["name"]], y, said) == Result()


def test_environments_in_which_the_color_misleads_do_not_hide_those_where_it_helps() -> None:
    frame, y, said = follows_color()
    both = pd.concat([frame, frame], ignore_index=True)
    data = Dataset(
        torch.zeros(2 * len(y), 1),
        torch.tensor(np.concatenate([y, 1 - y])),
        Column(torch.arange(2).repeat_interleave(len(y)), ("A", "B")),
        {"color": Column.constant(2 * len(y))},
    )
    task = TaskData(
        "classification", (Split("data", "test", data),), MLP(), classes=("no", "yes"), raw=RawTable(both, ())
    )
    result = Reweighted().evaluate(Says(np.concatenate([said, said])), task, np.random.default_rng(0))
    (finding,) = result.findings
    assert "in 'A'" in finding.sentence
    assert "from 90.0 % to 50.0 %" in finding.sentence
    rises = {m.environment: m.value for m in result.measurements if "color" in m.metric}
    assert rises == pytest.approx({"A": 0.4, "B": -0.4})


def test_what_is_missing_is_a_value() -> None:
    frame, y, said = follows_color()
    for values in (
        frame["color"].where(frame["color"] == "red"),
        frame["color"].where(frame["color"] == "red", np.nan),
    ):
        lost = frame.assign(color=values.astype("string"))
        assert lines(evaluate(lost, y, said))["color"][1] == pytest.approx(0.5)
