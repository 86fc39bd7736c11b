"""Rows of scikit-learn: what reaches the estimators."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.registry import create
from holdfast.core.task import TrainingView, training_view
from holdfast.testing import toy_task
from holdfast.training import Trainer

ESTIMATORS = ["logistic", "gradient-boosting:iterations=5"]


def view(kind: str = "classification", **changes: object) -> TrainingView:
    seen = training_view(toy_task(kind), create(Method, "logistic").needs(), Ledger())
    return dataclasses.replace(seen, data={"train": dataclasses.replace(seen.train, **changes)})


def fitted(reference: str, rows: TrainingView, seed: int = 0) -> object:
    return create(Method, reference).fit(rows, Trainer(seed=seed))


def weights(n: int = 96) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(3))


def numbers(rows: Dataset) -> np.ndarray:
    return rows.x.flatten(1).double().numpy()


@pytest.mark.parametrize("weight", [None, weights()])
def test_logistic_is_scikit_learns(weight: torch.Tensor | None) -> None:
    rows = view(weight=weight)
    expected = LogisticRegression(C=0.3, max_iter=1000).fit(
        numbers(rows.train), rows.train.labels.numpy(), None if weight is None else weight.double().numpy()
    )
    np.testing.assert_allclose(fitted("logistic:C=0.3", rows).coef_, expected.coef_)


@pytest.mark.parametrize("weight", [None, weights()])
def test_logistic_of_numbers_is_ridge_in_closed_form(weight: torch.Tensor | None) -> None:
    """C/2 · Σ w (xβ + b − y)² + ½‖β‖², differentiated."""
    rows, C = view("regression", weight=weight), 0.3
    model = fitted(f"logistic:C={C}", rows)
    w = np.ones(96) if weight is None else weight.double().numpy()
    x, y = np.hstack([numbers(rows.train), np.ones((96, 1))]), rows.train.labels.double().numpy()
    penalty = np.diag([1.0] * 6 + [0.0])
    solution = np.linalg.solve(C * x.T @ (w[:, None] * x) + penalty, C * x.T @ (w * y))
    np.testing.assert_allclose(model.coef_, solution[:6], rtol=1e-6)
    assert model.intercept_ == pytest.approx(solution[6])


def test_gradient_boosting_is_scikit_learns() -> None:
    rows = view(weight=weights())
    options = "iterations=7:learning_rate=0.3:max_leaf_nodes=5:min_samples_leaf=4:l2=0.5"
    expected = HistGradientBoostingClassifier(
        max_iter=7, learning_rate=0.3, max_leaf_nodes=5, min_samples_leaf=4, l2_regularization=0.5, early_stopping=False
    ).fit(numbers(rows.train), rows.train.labels.numpy(), weights().double().numpy())
    model = fitted(f"gradient-boosting:{options}", rows)
    np.testing.assert_allclose(model.predict_proba(numbers(rows.train)), expected.predict_proba(numbers(rows.train)))


@pytest.mark.parametrize("reference", ESTIMATORS)
def test_classes_are_codes_also_where_one_is_absent(reference: str) -> None:
    y = view().train.labels
    model = fitted(reference, view(y=torch.where(y == 1, 2, y)))
    assert model.classes_.tolist() == [0, 2]


@pytest.mark.parametrize("reference", ESTIMATORS)
def test_images_are_flattened(reference: str) -> None:
    flat, images = view(), view(x=view().train.x.reshape(96, 1, 2, 3))
    predictions = [fitted(reference, rows).predict(numbers(rows.train)) for rows in (flat, images)]
    np.testing.assert_array_equal(*predictions)


@pytest.mark.parametrize("reference", ESTIMATORS)
def test_what_cannot_be_fitted_is_refused(reference: str) -> None:
    with pytest.raises(UserError, match="have the same label"):
        fitted(reference, view(y=torch.ones(96, dtype=torch.int64)))
    with pytest.raises(UserError, match="takes one table, these rows have a, b"):
        fitted(reference, view(x={"a": torch.zeros(96, 2), "b": torch.zeros(96, 2)}))


@pytest.mark.parametrize("reference", ESTIMATORS)
def test_environments_are_not_looked_at(reference: str) -> None:
    assert not create(Method, reference).needs().environments
