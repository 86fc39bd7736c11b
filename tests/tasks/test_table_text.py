"""Tables whose column of text is read by a pretrained network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from holdfast.core.errors import UserError
from holdfast.core.evaluation import Prediction
from holdfast.core.predictors import ModulePredictor
from holdfast.core.task import TaskData
from holdfast.experiments.checks import check_model
from holdfast.models.hf import HuggingFace
from holdfast.models.mlp import MLP
from holdfast.tasks.table import TableFile


def reviews(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    good = rng.random(rows) < 0.5
    words = np.array(["the", "book", "was", "and", "on", "time", "very", "long"])
    texts = [" ".join([*rng.choice(words, 6), "good" if g else "bad"][:: rng.choice([-1, 1])]) for g in good]
    shops = np.array(["north", "east", "west"])[np.arange(rows) % 3]
    return pd.DataFrame({"text": texts, "price": rng.random(rows), "shop": shops, "verdict": good})


@pytest.fixture
def task(tmp_path: Path, text_network: Callable[..., Path]) -> TableFile:
    reviews().to_csv(tmp_path / "reviews.csv", index=False)
    return TableFile(
        path=str(tmp_path / "reviews.csv"),
        label="verdict",
        environment="shop",
        holdout_environment="west",
        tokenizer=str(text_network()),
    )


def predicted(data: TaskData, rows: object) -> Prediction:
    torch.manual_seed(0)
    network = data.model.build(data.input_shape, data.outputs).eval()
    predictor = ModulePredictor(network, data.kind, data.classes, encoder=data.encoder)
    return predictor.predict(rows)  # type: ignore[arg-type]


def test_inputs_are_tokens_for_the_backbone_beside_the_tokenizer(task: TableFile) -> None:
    data = task.load()
    assert isinstance(data.model, HuggingFace)
    assert data.input_shape == (7,)
    assert any("not used, as the input is a text: 'price'" in note for note in data.notes)
    assert data.raw is not None
    assert data.raw.features == ("text",)


def test_raw_rows_are_predicted_as_encoded_ones(task: TableFile) -> None:
    data = task.load()
    rows = data.split("test").data
    assert data.raw is not None
    raw = predicted(data, data.raw.rows(rows.index))
    torch.testing.assert_close(raw.outputs, predicted(data, rows).outputs)


def test_padding_changes_nothing(task: TableFile) -> None:
    data = task.load()
    network = data.model.build(data.input_shape, data.outputs).eval()
    x = data.split("test").data.batch().x
    assert isinstance(x, dict)
    longer = {name: torch.nn.functional.pad(values, (0, 3)) for name, values in x.items()}
    short = {"input_ids": x["input_ids"][:1, :3], "attention_mask": x["attention_mask"][:1, :3]}
    mixed = {name: torch.cat([torch.nn.functional.pad(short[name], (0, 4)), x[name]]) for name in x}
    torch.testing.assert_close(network(longer), network(x))
    torch.testing.assert_close(network(mixed)[:1], network(short))


def test_a_number_is_predicted_in_its_units(task: TableFile) -> None:
    data = dataclasses.replace(task, label="price", drop=("verdict",)).load()
    outputs = predicted(data, data.split("test").data).outputs
    assert data.kind == "regression"
    assert outputs.shape == (40, 1)
    assert 0.0 < outputs.mean() < 1.0


@pytest.mark.parametrize(
    ("model", "message"),
    [(MLP(), "network mlp, on rows of input_ids, attention_mask, raised"), (None, "add --tokenizer")],
)
def test_a_network_that_does_not_fit_is_one_line(task: TableFile, model: MLP | None, message: str) -> None:
    tokens, numbers = task.load(), dataclasses.replace(task, tokenizer=None).load()
    with pytest.raises(UserError, match=message):
        check_model(model or tokens.model, tokens if model else numbers)


def test_pictures_and_text_contradict_each_other(task: TableFile) -> None:
    with pytest.raises(UserError, match="give one of them"):
        dataclasses.replace(task, size=8).load()
