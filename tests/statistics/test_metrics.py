"""Every metric against scikit-learn, and what all metrics share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from holdfast.core.errors import UserError
from holdfast.statistics.metrics import METRICS, metric_named, metrics_for

CLASSIFICATION = [m.name for m in metrics_for("classification")]
REGRESSION = [m.name for m in metrics_for("regression")]


def classification_data(seed: int, n: int, c: int, ties: bool = True):
    """Labels of all classes and log-probabilities, many of them tied."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % c)
    p = rng.integers(1, 5, (n, c)).astype(float) if ties else rng.exponential(size=(n, c))
    return y, np.log(p / p.sum(1, keepdims=True))


def regression_data(seed: int, n: int):
    rng = np.random.default_rng(seed)
    y = 100 + rng.normal(size=n)
    return y, y + rng.normal(size=n)


def data_for(name: str, seed: int = 0, n: int = 60, c: int = 3):
    return classification_data(seed, n, c) if name in CLASSIFICATION else regression_data(seed, n)


def one_against_rest(score, y, log_p, w):
    p = np.exp(log_p)
    if p.shape[1] == 2:
        return score(y == 1, log_p[:, 1] - log_p[:, 0], sample_weight=w)
    return np.mean([score(y == c, log_p[:, c], sample_weight=w) for c in range(p.shape[1])])


ORACLE = {
    "accuracy": lambda y, s, w: oracle.accuracy_score(y, s.argmax(1), sample_weight=w),
    "balanced-accuracy": lambda y, s, w: oracle.balanced_accuracy_score(y, s.argmax(1), sample_weight=w),
    "auroc": lambda y, s, w: one_against_rest(oracle.roc_auc_score, y, s, w),
    "auprc": lambda y, s, w: one_against_rest(oracle.average_precision_score, y, s, w),
    "log-loss": lambda y, s, w: oracle.log_loss(y, np.exp(s), sample_weight=w, labels=range(s.shape[1])),
    "brier": lambda y, s, w: oracle.brier_score_loss(
        y, np.exp(s), sample_weight=w, labels=range(s.shape[1]), scale_by_half=False
    ),
    "rmse": lambda y, s, w: oracle.root_mean_squared_error(y, s, sample_weight=w),
    "mae": lambda y, s, w: oracle.mean_absolute_error(y, s, sample_weight=w),
    "r2": lambda y, s, w: oracle.r2_score(y, s, sample_weight=w),
}


def test_every_metric_but_the_calibration_error_has_an_oracle():
    assert set(METRICS) == {*ORACLE, "ece"}


@pytest.mark.parametrize("name", ORACLE)
@given(seed=st.integers(0, 10**6), n=st.integers(6, 80), c=st.integers(2, 4), weighted=st.booleans())
@settings(max_examples=15, deadline=None)
def test_agrees_with_scikit_learn(name, seed, n, c, weighted):
    y, scores = data_for(name, seed, n, c)
    weights = np.random.default_rng(seed).exponential(size=n) if weighted else None
    assert METRICS[name](y, scores, weights) == pytest.approx(ORACLE[name](y, scores, weights), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ORACLE)
@given(seed=st.integers(0, 10**6), n=st.integers(6, 40), c=st.integers(2, 4))
@settings(max_examples=15, deadline=None)
def test_an_integer_weight_is_that_many_rows(name, seed, n, c):
    y, scores = data_for(name, seed, n, c)
    times = np.random.default_rng(seed).integers(0, 4, n)
    whole, copies = (
        METRICS[name](y, scores, times),
        METRICS[name](np.repeat(y, times), np.repeat(scores, times, axis=0)),
    )
    np.testing.assert_allclose(whole, copies, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_only_the_ratios_of_weights_matter(name):
    y, scores = data_for(name)
    weights = np.random.default_rng(1).exponential(size=len(y))
    assert METRICS[name](y, scores, weights) == pytest.approx(METRICS[name](y, scores, 0.001 * weights))


@pytest.mark.parametrize("name", METRICS)
def test_a_row_of_zero_weight_is_absent_even_where_it_is_broken(name):
    y, scores = data_for(name)
    broken = scores.copy()
    broken[0] = np.nan
    weights = np.ones(len(y))
    weights[0] = 0
    assert METRICS[name](y, broken, weights) == pytest.approx(METRICS[name](y[1:], scores[1:]))


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_rows_does_not_matter(name):
    y, scores = data_for(name)
    order = np.random.default_rng(1).permutation(len(y))
    assert METRICS[name](y, scores) == pytest.approx(METRICS[name](y[order], scores[order]))


@pytest.mark.parametrize("name", ORACLE)
def test_many_weightings_at_once_are_the_single_ones(name):
    metric, (y, scores) = METRICS[name], data_for(name)
    weights = np.random.default_rng(1).integers(0, 3, (4, len(y))).astype(float)
    got = metric.compute(y, scores, weights)
    np.testing.assert_allclose(got, [metric(y, scores, w) for w in weights], rtol=1e-12)


@pytest.mark.parametrize("name", [m.name for m in METRICS.values() if m.per_row])
def test_per_row_and_finish_make_the_metric(name):
    metric, (y, scores) = METRICS[name], data_for(name)
    assert float(metric.finish(metric.per_row(y, scores).mean())) == pytest.approx(metric(y, scores))


@pytest.mark.parametrize("name", METRICS)
def test_better_predictions_score_better(name):
    y, scores = classification_data(0, 300, 2, ties=False) if name in CLASSIFICATION else regression_data(0, 300)
    if name == "ece":
        better, worse = np.log(np.full((300, 2), 0.5)), np.log(np.tile([0.99, 0.01], (300, 1)))
    elif name in CLASSIFICATION:
        better = 0.5 * np.exp(scores) + 0.5 * np.eye(2)[y]
        better, worse = np.log(better), scores
    else:
        better, worse = (y + scores) / 2, scores
    gain = METRICS[name](y, better) - METRICS[name](y, worse)
    assert gain > 0 if METRICS[name].higher_is_better else gain < 0


@pytest.mark.parametrize("name", METRICS)
def test_no_rows_and_broken_predictions_are_undefined_with_a_reason(name):
    metric, (y, scores) = METRICS[name], data_for(name)
    assert np.isnan(metric(y[:0], scores[:0]))
    assert metric.undefined(y[:0], scores[:0]) == "no rows"
    assert metric.undefined(y, scores, np.zeros(len(y))) == "no rows"
    broken = scores.copy()
    broken[3] = np.nan
    assert np.isnan(metric(y, broken))
    assert metric.undefined(y, broken) == "a prediction is not a finite number"
    assert metric.undefined(y, scores) is None


@pytest.mark.parametrize("name", ["auroc", "auprc"])
def test_one_class_has_no_curve(name):
    y, scores = data_for(name)
    alone = np.full(len(y), 2)
    assert np.isnan(METRICS[name](alone, scores))
    assert METRICS[name].undefined(alone, scores) == "only class 2 is present"
    assert np.isnan(METRICS[name].compute(y % 2, classification_data(0, 60, 2)[1], (y % 2 == 1).astype(float)))


@pytest.mark.parametrize("name", ["auroc", "auprc", "balanced-accuracy"])
def test_absent_classes_are_left_out_of_the_mean(name):
    y, scores = data_for(name)
    rows = y != 2
    y, scores = y[rows], scores[rows]
    wanted = {
        "balanced-accuracy": np.mean([(scores.argmax(1) == y)[y == c].mean() for c in (0, 1)]),
        "auroc": np.mean([oracle.roc_auc_score(y == c, scores[:, c]) for c in (0, 1)]),
        "auprc": np.mean([oracle.average_precision_score(y == c, scores[:, c]) for c in (0, 1)]),
    }
    assert METRICS[name](y, scores) == pytest.approx(wanted[name])


def test_targets_that_do_not_vary_or_are_broken_leave_r2_undefined():
    assert METRICS["r2"].undefined([1e9, 1e9], [0.0, 1.0]) == "the target does not vary"
    assert np.isnan(METRICS["r2"]([5.0], [5.0]))
    assert METRICS["rmse"].undefined([np.inf], [0.0]) == "a target is not a finite number"
    assert METRICS["mae"].undefined([0.0], [-np.inf]) == "a prediction is not a finite number"


def test_no_probability_for_the_label_is_an_infinite_loss_and_no_warning():
    log_p = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    assert METRICS["log-loss"]([1, 1], log_p) == np.inf
    assert METRICS["log-loss"]([0, 1], log_p) == 0
    assert METRICS["brier"]([1, 1], log_p) == 1
    assert METRICS["auroc"]([0, 1], log_p) == 1


def test_saturated_probabilities_are_still_ranked():
    logits = np.stack([np.zeros(3), [60.0, 50.0, 70.0]], axis=1)
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    assert (log_p[:, 1] == 0).all()
    assert METRICS["auroc"]([0, 0, 1], log_p) == 1


@pytest.mark.parametrize(
    ("name", "y", "scores", "message"),
    [
        ("accuracy", [0, 2], np.log([[0.5, 0.5]] * 2), r"0\.\.1"),
        ("accuracy", [0, -1], np.log([[0.5, 0.5]] * 2), r"0\.\.1"),
        ("accuracy", [0.0, 1.0], np.log([[0.5, 0.5]] * 2), "integers"),
        ("accuracy", [0, 1], [[3.0, 1.0]] * 2, "log-softmax"),
        ("accuracy", [0], np.log([[0.5, 0.5]] * 2), "accuracy wants"),
        ("accuracy", [0, 1], [0.0, 0.0], "log-probabilities"),
        ("rmse", [0.0, 1.0], [[0.0], [1.0]], "means"),
        ("rmse", [[0.0, 1.0]], [[0.0, 1.0]], "rmse wants"),
    ],
)
def test_wrong_inputs_are_named(name, y, scores, message):
    with pytest.raises(UserError, match=message):
        METRICS[name](y, scores)


def test_names():
    assert metrics_for("classification")[0].name == "accuracy"
    assert metrics_for("regression")[0].name == "rmse"
    with pytest.raises(UserError, match="did you mean 'auroc'"):
        metric_named("aurok")
