from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Predictor
from holdfast.core.predictors import EstimatorPredictor, ModulePredictor, cached, forward
from holdfast.tables.encoder import fit_encoder


def rows(n: int, shape: tuple[int, ...] = (3,)) -> Dataset:
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(n))
    return Dataset(x, torch.arange(n) % 2, Column.constant(n))


class Watched(nn.Module):
    """Notes the batches it sees and how it is run."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(3, width), nn.Dropout(0.5)
        self.seen: list[tuple[int, bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((len(x), self.training, torch.is_grad_enabled()))
        outputs: Tensor = self.dropout(self.linear(x))
        return outputs


def test_a_module_predicts_in_batches_in_evaluation_mode_without_gradients() -> None:
    model, data = Watched(), rows(10)
    predicted = ModulePredictor(model, "classification", ("a", "b"), batch_size=4).predict(data).logits
    assert predicted is not None
    torch.testing.assert_close(predicted, model.linear(data.x).detach())
    assert model.seen == [(4, False, False), (4, False, False), (2, False, False)]
    assert not predicted.requires_grad
    assert not predicted.is_inference()


def test_every_layer_gets_its_own_mode_back_even_after_a_failure() -> None:
    model = Watched()
    model.dropout.eval()
    forward(model, rows(2))
    with pytest.raises(RuntimeError):
        forward(model, rows(2, (4,)))
    assert (model.training, model.linear.training, model.dropout.training) == (True, True, False)


def test_one_logit_is_that_of_the_second_of_two_classes() -> None:
    model, data = Watched(1), rows(6)
    logits = ModulePredictor(model, "classification", ("no", "yes")).predict(data).logits
    z = model.linear(data.x).detach()
    assert logits is not None
    assert torch.equal(logits, torch.cat([torch.zeros(6, 1), z], dim=1))
    torch.testing.assert_close(logits.softmax(1)[:, 1:], z.sigmoid())


def test_a_regression_has_a_mean_for_every_row() -> None:
    model, data = Watched(1), rows(6)
    predicted = ModulePredictor(model, "regression").predict(data)
    assert predicted.logits is None
    assert predicted.mean is not None
    torch.testing.assert_close(predicted.mean, model.linear(data.x).detach().squeeze(1))
    assert predicted.outputs.shape == (6, 1)
    flat = nn.Sequential(model.linear, nn.Flatten(0))
    assert torch.equal(ModulePredictor(flat, "regression").predict(data).outputs, predicted.outputs)


@pytest.mark.parametrize(
    ("width", "kind", "classes", "message"),
    [
        (2, "regression", (), "puts out 2 numbers per row: this task needs one number per row"),
        (3, "classification", ("a", "b"), "puts out 3 numbers per row: this task needs one for each of 2 classes"),
        (1, "classification", ("a", "b", "c"), "puts out 1 numbers per row: this task needs one for each of 3"),
    ],
)
def test_a_wrong_width_is_one_line(width: int, kind: Any, classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModulePredictor(Watched(width), kind, classes).predict(rows(2))


def test_no_rows_give_no_predictions_and_still_check_the_width() -> None:
    empty = rows(4).take(torch.zeros(0, dtype=torch.int64))
    assert ModulePredictor(Watched(), "classification", ("a", "b")).predict(empty).outputs.shape == (0, 2)
    with pytest.raises(UserError, match="puts out 2 numbers"):
        ModulePredictor(Watched(), "regression").predict(empty)


def test_inputs_may_be_a_dict() -> None:
    class Sum(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return x["a"] + x["b"]

    data = Dataset({"a": torch.ones(5, 2), "b": torch.arange(10.0).reshape(5, 2)}, None, Column.constant(5))
    logits = ModulePredictor(Sum(), "classification", ("p", "q"), batch_size=2).predict(data).logits
    assert logits is not None
    assert logits.tolist() == (1 + torch.arange(10.0).reshape(5, 2)).tolist()


def test_raw_rows_are_encoded() -> None:
    frame = pd.DataFrame({"age": [30.0, 50.0, 40.0], "ward": ["a", "b", "a"]})
    encoder = fit_encoder(frame, ["age", "ward"], min_level_count=1)
    x = encoder.transform(frame)
    encoded = Dataset(torch.from_numpy(x), None, Column.constant(3))
    module = ModulePredictor(nn.Linear(x.shape[1], 2), "classification", ("n", "y"), encoder=encoder)
    estimator = EstimatorPredictor(LogisticRegression().fit(x, [0, 1, 0]), "classification", ("n", "y"), encoder)
    for predictor in (module, estimator):
        assert torch.equal(predictor.predict(frame).outputs, predictor.predict(encoded).outputs)
    with pytest.raises(UserError, match="no encoder for raw rows"):
        ModulePredictor(nn.Linear(3, 2), "classification", ("n", "y")).predict(frame)
    with pytest.raises(UserError, match="unknown column 'ward'"):
        module.predict(frame[["age"]])


def test_an_estimators_probabilities_stand_in_the_columns_of_their_classes() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = np.where(x[:, 0] > 0, 3, 1)
    estimator = LogisticRegression().fit(x, y)
    data = Dataset(torch.from_numpy(x), None, Column.constant(60))
    logits = EstimatorPredictor(estimator, "classification", ("a", "b", "c", "d")).predict(data).logits
    assert logits is not None
    np.testing.assert_allclose(logits[:, [1, 3]], estimator.predict_log_proba(x), rtol=1e-12)
    assert (logits[:, [0, 2]] == np.log(np.finfo(np.float64).eps)).all()
    np.testing.assert_allclose(logits.exp().sum(1), 1.0, atol=1e-12)


def test_an_estimator_reads_flat_rows_and_regresses() -> None:
    data = rows(50, (2, 3))
    x, y = data.x.flatten(1).numpy(), torch.arange(50.0).numpy()  # type: ignore[union-attr]
    estimator = HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=5).fit(x, y)
    predictor = EstimatorPredictor(estimator, "regression")
    assert predictor.module is None
    mean = predictor.predict(data).mean
    assert mean is not None
    assert mean.tolist() == estimator.predict(x).tolist()


def test_what_an_estimator_cannot_do_is_one_line() -> None:
    data = rows(4)
    x = data.x.numpy()  # type: ignore[union-attr]
    names = LogisticRegression().fit(x, ["n", "y", "n", "y"])
    for estimator, message in (
        (RidgeClassifier().fit(x, [0, 1, 0, 1]), "RidgeClassifier gives no probabilities"),
        (LogisticRegression().fit(x, [1, 2, 1, 2]), r"knows the classes \[1, 2\]: train it on codes 0 … 1"),
        (names, r"knows the classes \['n', 'y'\]"),
    ):
        with pytest.raises(UserError, match=message):
            EstimatorPredictor(estimator, "classification", ("n", "y")).predict(data)
    several = Dataset({"a": torch.zeros(4, 3)}, None, Column.constant(4))
    with pytest.raises(UserError, match="reads one array"):
        EstimatorPredictor(names, "classification", ("n", "y")).predict(several)


def test_booleans_are_codes() -> None:
    data = rows(4)
    estimator = LogisticRegression().fit(data.x.numpy(), [False, True, False, True])  # type: ignore[union-attr]
    probabilities = EstimatorPredictor(estimator, "classification", ("n", "y")).predict(data).outputs.exp()
    np.testing.assert_allclose(probabilities, estimator.predict_proba(data.x.numpy()))  # type: ignore[union-attr]


def test_a_cached_predictor_looks_once_at_the_data_sets_it_was_told_of() -> None:
    model = Watched()
    inner = ModulePredictor(model, "classification", ("a", "b"))
    one, two, other = rows(4), rows(4), rows(4)
    predictor: Predictor = cached(inner, [one, two])
    first = predictor.predict(one)
    assert predictor.predict(one) is first
    assert len(model.seen) == 1
    assert predictor.predict(two) is not first
    assert len(model.seen) == 2
    assert predictor.predict(other) is not predictor.predict(other)
    assert len(model.seen) == 4
    assert torch.equal(predictor.predict(two).outputs, inner.predict(two).outputs)
    assert predictor.module is model
    assert cached(EstimatorPredictor(None, "regression"), []).module is None
