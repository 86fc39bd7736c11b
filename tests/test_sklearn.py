"""The scikit-learn face: what scikit-learn asks of an estimator, and that environments reach the methods."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from holdfast.core.errors import UserError
from holdfast.sklearn import RobustClassifier, RobustRegressor

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn at random: a row of weight two is not two rows"
}


@parametrize_with_checks(
    [RobustClassifier(steps=60), RobustRegressor(steps=60)], expected_failed_checks=lambda _: EXPECTED_FAILURES
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def shortcut(rows: int, agreement: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A noisy stable column and a shortcut that agrees with the label as often as asked; X, y, agreement."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    agrees = rng.random(rows) < agreement
    stable = 2 * y - 1 + rng.normal(size=rows)
    other = 2 * np.where(agrees, y, 1 - y) - 1 + 0.1 * rng.normal(size=rows)
    return np.column_stack([stable, other]), y, agrees


def test_groups_reach_the_method():
    X, y, agrees = shortcut(2000, 0.95, seed=0)
    X_test, y_test, agrees_test = shortcut(2000, 0.5, seed=1)

    def worst(method: str) -> float:
        model = RobustClassifier(method, steps=200).fit(X, y, group=agrees)
        right = model.predict(X_test) == y_test
        return min(right[agrees_test].mean(), right[~agrees_test].mean())

    assert worst("balanced:groups=label*group") > worst("erm") + 0.1
    assert worst("group-dro:groups=label*group") > worst("erm") + 0.1


def test_environments_reach_the_method():
    (X, y, agrees), model = shortcut(400, 0.8, seed=0), RobustClassifier("and-mask", steps=30)
    with_environments = model.fit(X, y, environment=agrees).predict_proba(X)
    named_otherwise = model.fit(X, y, environment=np.where(agrees, "b", "a")).predict_proba(X)
    without = model.fit(X, y).predict_proba(X)
    assert np.array_equal(with_environments, named_otherwise)
    assert not np.allclose(with_environments, without)


def test_groups_are_inferred_where_no_column_names_them():
    X, y, _ = shortcut(2000, 0.95, seed=0)
    X_test, y_test, agrees_test = shortcut(2000, 0.5, seed=1)

    def right_without_shortcut(**options: str) -> float:
        model = RobustClassifier("group-dro:groups=label*environment", steps=200, **options).fit(X, y)
        return (model.predict(X_test) == y_test)[~agrees_test].mean()

    assert right_without_shortcut(infer_groups="errors") > right_without_shortcut() + 0.1


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RobustClassifier(infer_groups="error"), "did you mean 'errors'"),
        (RobustClassifier(infer_groups="features:number=300"), "more groups than its"),
        (RobustRegressor(infer_groups="errors"), "is for classification: this task is regression"),
    ],
)
def test_what_infers_nothing_is_refused(estimator, message):
    X, y, _ = shortcut(100, 0.9, seed=0)
    with pytest.raises(UserError, match=message):
        estimator.fit(X, y)


def test_weights_reach_the_method():
    X, y, agrees = shortcut(400, 0.9, seed=0)
    all_rows = RobustClassifier("erm", steps=100).fit(X, y, sample_weight=np.where(agrees, 0.0, 1.0))
    assert (all_rows.predict(X) == y)[~agrees].mean() > 0.95


def test_a_seed_fixes_the_model():
    X, y, _ = shortcut(200, 0.9, seed=0)
    first, again, other = (
        RobustClassifier(steps=20, random_state=seed).fit(X, y).predict_proba(X) for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_fitting_leaves_the_global_generators_alone():
    import torch

    X, y, _ = shortcut(100, 0.9, seed=0)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    RobustClassifier(steps=5).fit(X, y)
    assert torch.equal(torch.rand(3), expected)


def test_leave_one_environment_out():
    X, y, _ = shortcut(300, 0.9, seed=0)
    environment = np.arange(300) % 3
    grid = {"method": ["erm", "group-dro", "logistic"]}
    search = GridSearchCV(RobustClassifier(steps=20), grid, cv=LeaveOneGroupOut())
    search.fit(X, y, groups=environment, environment=environment)
    assert search.n_splits_ == 3
    assert search.best_score_ > 0.8


def test_in_a_pipeline():
    X, y, _ = shortcut(200, 0.9, seed=0)
    pipeline = make_pipeline(StandardScaler(), RobustClassifier(steps=20))
    pipeline.fit(X, y, robustclassifier__environment=np.arange(200) % 2)
    assert cross_val_score(pipeline, X, y, cv=2).mean() > 0.8


def test_a_table_of_mixed_columns():
    rng = np.random.default_rng(0)
    y = np.where(rng.integers(0, 2, 200), "yes", "no")
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=200),
            "ward": np.where(y == "yes", "a", "b"),
            "flag": rng.random(200) > 0.5,
        }
    )
    frame.loc[:5, "ward"] = None
    model = RobustClassifier("erm", steps=60).fit(frame, y)
    assert model.score(frame[10:], y[10:]) == 1.0
    assert list(model.feature_names_in_) == ["number", "ward", "flag"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["ward", "number", "flag"]])


def test_missing_numbers():
    X, y, _ = shortcut(200, 0.9, seed=0)
    X[::7, 0] = np.nan
    assert RobustClassifier(steps=60).fit(X, y).score(X, y) > 0.8


def test_regression_is_in_the_units_of_the_target():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = 1e4 + 300 * X[:, 0]
    predicted = RobustRegressor("erm", steps=300).fit(X, y).predict(X)
    assert predicted.shape == (300,)
    assert np.abs(predicted - y).mean() < 30


@pytest.mark.parametrize("method", ["erm+dfr:groups=label*group", "logistic", "gradient-boosting"])
def test_every_kind_of_method(method):
    X, y, agrees = shortcut(400, 0.8, seed=0)
    model = RobustClassifier(method, steps=30).fit(X, y, group=agrees)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert copy.score(X, y) == model.score(X, y) > 0.7


def test_a_rule_keeps_rows_from_training():
    X, y, agrees = shortcut(400, 0.8, seed=0)
    plain, selected = (
        RobustClassifier("erm", steps=30, select=rule).fit(X, y) for rule in ("last", "worst-environment")
    )
    assert not np.allclose(plain.predict_proba(X), selected.predict_proba(X))
    RobustClassifier("erm", steps=30, select="worst-group").fit(X, y, group=agrees)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"method": "and-msk"}, {}, "did you mean 'and-mask'"),
        ({"method": "erm,irm"}, {}, "names 2 methods"),
        ({"method": "dfr"}, {}, "repairs a model"),
        ({"method": "group-dro:groups=label*group"}, {}, "group"),
        ({"method": "group-dro:step_size=-1"}, {}, "step_size"),
        ({"select": "worst-group"}, {}, "needs groups"),
        ({"select": "oracle"}, {}, "'test'"),
        ({"steps": 0}, {}, "must be ≥ 1"),
        ({"device": "quantum"}, {}, "quantum"),
        ({}, {"environment": ["a", "b"]}, "environment has 2 values and X has 100 rows"),
        ({}, {"environment": [None] * 100}, "environment has missing values"),
        ({}, {"sample_weight": [-1.0] * 100}, "[Nn]egative"),
        ({}, {"y": np.zeros(100)}, "one class"),
    ],
)
def test_bad_input(changes, arguments, message):
    X, y, _ = shortcut(100, 0.9, seed=0)
    with pytest.raises((ValueError, UserError), match=message):
        clone(RobustClassifier(steps=5)).set_params(**changes).fit(X, **{"y": y, **arguments})


def test_infinite_numbers_and_equal_names_are_refused():
    X, y, _ = shortcut(100, 0.9, seed=0)
    with pytest.raises(ValueError, match="unique column names"):
        RobustClassifier().fit(pd.DataFrame(X, columns=["a", "a"]), y)
    X[3, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        RobustClassifier().fit(X, y)
