from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from holdfast.core.artifacts import Table
from holdfast.core.evaluation import Result
from holdfast.evaluations.environment_shift import EnvironmentShift
from holdfast.evaluations.sampled import quotas_of


def rows(bench: Any, n: int = 900, seed: int = 0, *, concept: float = 0.0, numbers: bool = False, **more: Any) -> Any:
    """Two environments; inputs alike, and the label's log-odds or mean higher in the second."""
    rng = np.random.default_rng(seed)
    x, environment = rng.normal(size=(n, 2)), np.arange(n) % 2
    f = x[:, 0] + concept * environment
    y = f + rng.normal(size=n) if numbers else (rng.random(n) < 1 / (1 + np.exp(-f))).astype(int)
    return bench.split("test", "test", x.astype(np.float32), y, environment=environment, **more)


def table(result: Result, name: str) -> Table:
    (found,) = [a for a in result.artifacts if isinstance(a, Table) and a.name.startswith(name)]
    return found


@pytest.mark.parametrize("numbers", [False, True])
def test_a_concept_shift_is_found_with_its_size(bench: Any, pick: Any, numbers: bool) -> None:
    result = bench.run(EnvironmentShift(), rows(bench, 2000, concept=1.5, numbers=numbers))
    found = pick(result, metric="concept-shift", environment="south")
    opposite = pick(result, metric="concept-shift", environment="north")
    assert found.low is not None
    assert found.low > 0.1
    assert opposite.value == pytest.approx(-found.value, abs=0.03)
    readings = {(line[0], line[2]): line[-1] for line in table(result, "what changes").rows}
    assert readings["south", "concept shift"] == "alike inputs have other labels"
    assert readings["south", "covariate shift"] == "not shown"
    assert "south" in pick(result, metric="concept-shift").note or "north" in pick(result, metric="concept-shift").note


def test_without_shift_nothing_is_shown(bench: Any) -> None:
    result = bench.run(EnvironmentShift(), rows(bench))
    assert {line[-1] for line in table(result, "what changes").rows} == {"not shown"}


def test_the_column_that_differs_is_named(bench: Any) -> None:
    split = rows(bench)
    split.data.x[split.data.environment.codes == 1, 1] += 1
    first = table(bench.run(EnvironmentShift(), split), "columns that differ").rows[0]
    assert first[1:3] == ("input 1", "rank")
    assert first[-1] < 1e-6


def test_one_environment_is_a_note(bench: Any, pick: Any) -> None:
    split = bench.split("test", "test", np.zeros((50, 2)), np.arange(50) % 2)
    result = bench.run(EnvironmentShift(), split)
    assert math.isnan(result.measurements[0].value)
    assert "one environment" in result.measurements[0].note
    assert not result.artifacts


def test_few_rows_are_a_note_and_constant_inputs_no_error(bench: Any, pick: Any) -> None:
    environment = np.where(np.arange(200) < 4, 2, np.arange(200) % 2)
    split = bench.split("test", "test", np.zeros((200, 2)), np.arange(200) // 2 % 2, environment=environment)
    result = bench.run(EnvironmentShift(), split)
    assert pick(result, metric="label-shift", environment="east").note == "too few informative rows"
    assert pick(result, metric="label-shift", environment="north").low is not None


def test_images_many_classes_units_and_weights(bench: Any) -> None:
    rng = np.random.default_rng(0)
    n, y = 240, np.arange(240) % 3
    x = rng.normal(size=(n, 3, 8, 8)).astype(np.float32)
    weight, unit = np.where(rng.random(n) < 0.1, 0.0, 1.0), np.arange(n) // 2
    split = bench.split("test", "test", x, y, environment=np.arange(n) // 4 % 3, weight=weight, unit=unit)
    task = bench.task(split)
    result = EnvironmentShift().evaluate(None, task, np.random.default_rng(0))  # type: ignore[arg-type]
    assert {m.metric for m in result.measurements} == {"label-shift", "covariate-shift", "concept-shift"}
    assert sum(m.n for m in result.measurements if m.metric == "label-shift" and m.environment) == (weight > 0).sum()
    assert {m.unit for m in result.measurements} == {"unit"}


def test_equal_seeds_give_equal_results(bench: Any) -> None:
    assert bench.run(EnvironmentShift(rows=200), rows(bench)) == bench.run(EnvironmentShift(rows=200), rows(bench))


def test_a_sample_keeps_small_environments_and_their_weight(bench: Any, pick: Any) -> None:
    sizes = np.array([9000, 100, 0, 900])
    assert quotas_of(sizes, 1200).tolist() == [808, 100, 0, 291]
    assert quotas_of(sizes, 10_000).tolist() == sizes.tolist()
    y = np.arange(6000) // 2 % 2
    environment = np.where(np.arange(6000) < 60, 1, 0)
    y[environment == 1] = np.arange(60) % 3 == 0
    split = bench.split("test", "test", np.random.default_rng(0).normal(size=(6000, 2)), y, environment=environment)
    found = pick(bench.run(EnvironmentShift(rows=400), split), metric="label-shift", environment="south")
    assert found.n == 60
    assert found.value == pytest.approx(1 / 3 - 1 / 2, abs=0.06)
