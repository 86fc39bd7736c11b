from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from holdfast.core.data import Column
from holdfast.core.evaluation import Evaluation
from holdfast.core.predictors import ModulePredictor
from holdfast.core.registry import create, lookup
from holdfast.evaluations import DEFAULT
from holdfast.evaluations.scored import ScoredRows, by_value, headline, score


def test_scores_are_log_probabilities_in_double_precision(bench: Any) -> None:
    outputs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32) * 30
    split = bench.split("test", "test", outputs, [0, 1, 2, 0, 1], weight=np.arange(5.0), unit=[1, 1, -1, 2, 3])
    rows = score(ModulePredictor(torch.nn.Identity(), "classification", ("a", "b", "c")), split)
    np.testing.assert_allclose(rows.scores, log_softmax(outputs.astype(np.float64), axis=1), rtol=1e-12)
    assert rows.scores.dtype == np.float64
    assert (rows.n, rows.split, rows.y.tolist()) == (4, "test", [0, 1, 2, 0, 1])
    some = rows.take(np.array([4, 0]))
    assert some.weight is not None
    assert some.unit is not None
    assert (some.n, some.weight.tolist(), some.unit.tolist(), some.y.tolist()) == (1, [4.0, 0.0], [3, 1], [1, 0])


def test_unknown_rows_are_in_no_part() -> None:
    rows = ScoredRows("test", np.arange(5.0), np.zeros(5))
    column = Column(torch.tensor([2, -1, 0, 2, -1]), ("a", "b", "c"))
    parts = by_value(rows, column, "group")
    assert {name: part.y.tolist() for name, part in parts.items()} == {"a": [2.0], "c": [0.0, 3.0]}
    assert [(part.group, part.environment) for part in parts.values()] == [("a", None), ("c", None)]
    assert [part.environment for part in by_value(rows, column, "environment").values()] == ["a", "c"]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_headline_is_a_mean_over_rows(kind: Any) -> None:
    assert headline(kind).per_row is not None


def test_the_default_evaluations_exist_and_run_on_every_kind_they_name(bench: Any) -> None:
    y = np.arange(60)
    for reference in (name for name in DEFAULT if name != "agreement"):  # which looks into networks
        for kind, outputs, labels in (
            ("classification", np.eye(2)[y % 2], y // 2 % 2),
            ("regression", np.zeros((60, 1)), y / 60.0),
        ):
            if kind in lookup("evaluation", reference).kinds:  # type: ignore[attr-defined]
                same = bench.split("same", "test", outputs, labels, environment=y % 3, group=y % 2)
                test = bench.split("test", "test", outputs, labels, environment=y % 3, group=y % 2, shifted=True)
                result = bench.run(create(Evaluation, reference), same, test)
                assert result.measurements or result.artifacts
                assert all(artifact.to_html() for artifact in result.artifacts)
