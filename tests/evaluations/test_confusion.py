from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from holdfast.core.artifacts import Matrix
from holdfast.core.registry import lookup
from holdfast.evaluations.confusion import Confusion


@pytest.mark.parametrize("seed", [0, 1])
def test_shares_agree_with_scikit_learn(bench: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outputs, y, weight = rng.normal(size=(50, 4)), rng.integers(3, size=50), rng.uniform(0.5, 2, size=50)
    split = bench.split("test", "test", outputs, y, weight=weight)
    (matrix,) = bench.run(Confusion(), bench.split("selection", "selection", outputs, y), split).artifacts
    assert isinstance(matrix, Matrix)
    oracle = confusion_matrix(y, outputs.argmax(1), labels=range(4), normalize="true", sample_weight=weight)
    np.testing.assert_allclose(np.array(matrix.values)[:3], oracle[:3], atol=1e-12)
    assert np.isnan(matrix.values[3]).all()
    assert (matrix.rows, matrix.columns) == (("a", "b", "c", "d"), ("a", "b", "c", "d"))


def test_too_many_classes_make_no_picture(bench: Any) -> None:
    for classes, pictures in ((30, 1), (31, 0)):
        split = bench.split("test", "test", np.zeros((40, classes)), np.arange(40) % classes)
        assert len(bench.run(Confusion(), split).artifacts) == pictures


def test_it_is_for_classification() -> None:
    for name in ("confusion", "calibration"):
        assert lookup("evaluation", name).kinds == ("classification",)  # type: ignore[attr-defined]
