from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from holdfast.core.evaluation import Measurement, Result
from holdfast.evaluations.performance import Performance
from holdfast.statistics import clopper_pearson, metrics_for

NAMES = ("north", "south", "east")
AGES = ("young", "old", "absent")
fast = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def draw(seed: int, n: int, classes: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "outputs": rng.normal(size=(n, classes)),
        "y": rng.integers(classes, size=n),
        "environment": rng.integers(-1, 3, size=n),
        "group": rng.integers(-1, 2, size=n),
        "weight": rng.uniform(0.1, 3.0, size=n),
    }


def parts(rows: dict[str, Any]) -> list[tuple[dict[str, str | None], np.ndarray]]:
    """Fields of the measurements that there must be, and a mask of their rows."""
    found: list[tuple[dict[str, str | None], np.ndarray]] = [({}, np.ones(len(rows["y"]), dtype=bool))]
    for what, names in (("environment", NAMES), ("group", AGES)):
        for code, name in enumerate(names):
            mask = rows[what] == code
            if mask.any():
                found.append(({what: name}, mask))
    return found


def classification_oracle(rows: dict[str, Any], mask: np.ndarray) -> dict[str, float]:
    y, w = rows["y"][mask], rows["weight"][mask]
    p = np.exp(rows["outputs"][mask])
    p /= p.sum(1, keepdims=True)
    one_hot = np.eye(p.shape[1])[y]
    oracle = {
        "accuracy": sk.accuracy_score(y, p.argmax(1), sample_weight=w),
        "log-loss": sk.log_loss(y, p, sample_weight=w, labels=range(p.shape[1])),
        "brier": float(np.average(((p - one_hot) ** 2).sum(1), weights=w)),
    }
    present = np.unique(y)
    oracle["balanced-accuracy"] = float(
        np.mean([sk.recall_score(y == c, p.argmax(1) == c, sample_weight=w, zero_division=0) for c in present])
    )
    if len(present) > 1:
        columns = [1] if p.shape[1] == 2 else list(present)
        pairs = [(y == c, p[:, c]) for c in columns]
        oracle["auroc"] = float(np.mean([sk.roc_auc_score(t, s, sample_weight=w) for t, s in pairs]))
        oracle["auprc"] = float(np.mean([sk.average_precision_score(t, s, sample_weight=w) for t, s in pairs]))
    return oracle


@fast
@given(seed=st.integers(0, 2**32), classes=st.integers(2, 4), n=st.integers(12, 60))
def test_classification_agrees_with_scikit_learn(bench: Any, pick: Any, seed: int, classes: int, n: int) -> None:
    rows = draw(seed, n, classes)
    result = bench.run(Performance(replicates=100), bench.split("test", "test", **rows))
    for where, mask in parts(rows):
        for name, value in classification_oracle(rows, mask).items():
            measured = pick(result, metric=name, **where)
            assert measured.value == pytest.approx(value, abs=1e-9), (name, where)
            assert (measured.n, measured.split) == (mask.sum(), "test")
            # Of few rows, too many resamples may hold one class only: then there is a value without an interval.
            assert measured.note in ("", "interval: none (bootstrap: undefined on too many resamples)")
    assert len(result.measurements) == 7 * len(parts(rows))


@fast
@given(seed=st.integers(0, 2**32), n=st.integers(12, 60))
def test_regression_agrees_with_scikit_learn(bench: Any, pick: Any, seed: int, n: int) -> None:
    rows = draw(seed, n, 1)
    rows["y"] = np.random.default_rng(seed).normal(size=n)
    result = bench.run(Performance(replicates=100), bench.split("test", "test", **rows))
    for where, mask in parts(rows):
        y, mean, w = rows["y"][mask], rows["outputs"][mask, 0], rows["weight"][mask]
        rmse, mae = (
            sk.root_mean_squared_error(y, mean, sample_weight=w),
            sk.mean_absolute_error(y, mean, sample_weight=w),
        )
        assert pick(result, metric="rmse", **where).value == pytest.approx(rmse)
        assert pick(result, metric="mae", **where).value == pytest.approx(mae)
        if mask.sum() > 1:
            assert pick(result, metric="r2", **where).value == pytest.approx(sk.r2_score(y, mean, sample_weight=w))
    assert len(result.measurements) == 3 * len(parts(rows))


def test_rows_no_method_trains_on_are_measured(bench: Any) -> None:
    roles = ("train", "holdout", "pool", "selection", "calibration", "test")
    splits = [bench.split(role, role, [[0.0, 1.0], [1.0, 0.0]], [1, 1]) for role in roles]
    unlabelled = bench.split("later", "test", [[0.0, 1.0]], [1])
    unlabelled = dataclasses.replace(unlabelled, data=dataclasses.replace(unlabelled.data, y=None))
    result = bench.run(Performance(), unlabelled, *splits)
    assert list(dict.fromkeys(m.split for m in result.measurements)) == ["selection", "calibration", "test"]


def test_a_metric_that_is_not_defined_is_missing_with_its_reason(bench: Any, pick: Any) -> None:
    split = bench.split(
        "test", "test", [[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 2.0]], [1, 1, 0, 1], environment=[0, 0, 1, 1]
    )
    result = bench.run(Performance(), split)
    one_class = pick(result, metric="auroc", environment="north")
    assert math.isnan(one_class.value)
    assert (one_class.note, one_class.low, one_class.interval) == ("only class 1 is present", None, "")
    assert pick(result, metric="accuracy", environment="north").value == 0.5
    assert pick(result, metric="auroc", environment="south").value == 1.0


def test_a_diverged_model_has_no_numbers_and_says_so(bench: Any, pick: Any) -> None:
    split = bench.split("test", "test", [[0.0, 1.0], [np.nan, 0.0], [np.inf, 0.0]], [1, 0, 0], environment=[0, 1, 2])
    result = bench.run(Performance(), split)
    for name in (metric.name for metric in metrics_for("classification")):
        assert math.isnan(pick(result, metric=name).value)
        assert pick(result, metric=name).note == "a prediction is not a finite number"
    assert pick(result, metric="accuracy", environment="north").value == 1.0
    assert math.isnan(pick(result, metric="accuracy", environment="east").value)


def test_intervals_are_where_the_documentation_says(bench: Any) -> None:
    rows = draw(3, 80, 2)
    del rows["weight"]
    for m in bench.run(Performance(), bench.split("test", "test", **rows)).measurements:
        everywhere = m.environment is None and m.group is None
        kind = {"accuracy": "clopper-pearson", "ece": ""}.get(m.metric, "bootstrap" if everywhere else "")
        assert m.interval == kind, m
        assert (m.low is None) == (m.high is None) == (kind == "")
        if m.low is not None and m.high is not None:
            assert m.low <= m.value <= m.high
            assert (m.level, m.unit) == (0.95, "row")


def test_the_interval_of_a_plain_accuracy_is_exact(bench: Any, pick: Any) -> None:
    split = bench.split("test", "test", [[0.0, 1.0]] * 10, [1] * 7 + [0] * 3)
    measured = pick(bench.run(Performance(level=0.9), split), metric="accuracy")
    exact = clopper_pearson(7, 10, 0.9)
    assert (measured.low, measured.high, measured.level) == (exact.low, exact.high, 0.9)


def test_rows_of_weight_zero_are_absent(bench: Any) -> None:
    rows = draw(5, 60, 3)
    rows["weight"] = np.ones(60)
    padded = {key: np.concatenate([value, value[:20]]) for key, value in rows.items()}
    padded["weight"][60:] = 0.0
    one = bench.run(Performance(), bench.split("test", "test", **rows))
    other = bench.run(Performance(), bench.split("test", "test", **padded))
    for a, b in zip(one.measurements, other.measurements, strict=True):
        assert (a.metric, a.environment, a.group, a.n) == (b.metric, b.environment, b.group, b.n)
        assert a.value == pytest.approx(b.value, nan_ok=True)


def test_rows_that_repeat_a_unit_are_no_new_evidence(bench: Any, pick: Any) -> None:
    rows = draw(7, 150, 2)
    del rows["weight"]
    repeated = {key: np.repeat(value, 4, axis=0) for key, value in rows.items()}
    units = np.repeat(np.arange(150), 4)

    def width(m: Measurement) -> float:
        assert m.low is not None
        assert m.high is not None
        return m.high - m.low

    once = bench.run(Performance(), bench.split("test", "test", **rows))
    many = bench.run(Performance(), bench.split("test", "test", **repeated))
    united = bench.run(Performance(), bench.split("test", "test", **repeated, unit=units))
    for metric in ("accuracy", "auroc", "log-loss"):
        a, b, c = (pick(result, metric=metric) for result in (once, many, united))
        assert width(c) == pytest.approx(width(a), rel=0.2)
        assert width(b) == pytest.approx(width(a) / 2, rel=0.2)
        assert (c.interval, c.unit, c.n) == ("cluster bootstrap", "unit", 600)
    assert pick(united, metric="accuracy", environment="north").interval == "cluster bootstrap"


def test_one_logit_and_two_logits_are_the_same_model(bench: Any) -> None:
    z = np.random.default_rng(0).normal(size=40)
    y = np.arange(40) % 2
    one = bench.run(Performance(), bench.split("test", "test", z[:, None], y))
    two = bench.run(Performance(), bench.split("test", "test", np.stack([0 * z, z], axis=1), y))
    shifted = bench.run(Performance(), bench.split("test", "test", np.stack([0 * z + 9, z + 9], axis=1), y))
    for a, b, c in zip(one.measurements, two.measurements, shifted.measurements, strict=True):
        assert a == b
        assert a.value == pytest.approx(c.value)


def test_equal_streams_give_equal_results(bench: Any) -> None:
    split = bench.split("test", "test", **draw(1, 50, 3))
    results: list[Result] = [bench.run(Performance(), split, seed=seed) for seed in (4, 4, 5)]
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_half_precision_outputs_do_not_round_the_metrics(bench: Any, pick: Any) -> None:
    rows = draw(2, 40, 2)
    rows["outputs"] = rows["outputs"].astype(np.float16)
    exact = {**rows, "outputs": rows["outputs"].astype(np.float64)}
    a = bench.run(Performance(), bench.split("test", "test", **rows))
    b = bench.run(Performance(), bench.split("test", "test", **exact))
    assert pick(a, metric="log-loss").value == pytest.approx(pick(b, metric="log-loss").value, rel=1e-12)
