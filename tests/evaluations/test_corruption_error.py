"""Errors under corruptions: against a model whose errors are known, the rows that are used, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.core.artifacts import Curve, Table
from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Measurement, Result
from holdfast.core.predictors import ModulePredictor
from holdfast.core.registry import create
from holdfast.core.task import Model, Split, TaskData
from holdfast.evaluations.corruption_error import CorruptionError
from holdfast.statistics.corruption_error import ALEXNET, ALEXNET_CLEAN


class Bright(nn.Module):
    """Says 1 where the mean is above one half."""

    def forward(self, x: Tensor) -> Tensor:
        excess = x.flatten(1).mean(dim=1) - 0.5
        return torch.stack([-excess, excess], dim=1)


@dataclass(frozen=True)
class NoModel(Model):
    pass


def rows(name: str, n: int = 40, *, shifted: bool = False, **more: Any) -> Split:
    """Grey images, whose values go evenly from 0.3 to 0.7; the label says whether the value is above one half."""
    values = torch.linspace(0.3, 0.7, n)
    x = values[:, None, None, None].expand(-1, 1, 8, 8).clone()
    data = Dataset(x, (values > 0.5).long(), Column.constant(n), index=torch.arange(n) + len(name) * 1000, **more)
    return Split(name, "test", data, shifted=shifted)


def run(evaluation: CorruptionError, *splits: Split) -> Result:
    task = TaskData("classification", splits, NoModel(), classes=("dark", "bright"))
    return evaluation.evaluate(ModulePredictor(Bright(), task.kind, task.classes), task, np.random.default_rng(0))


def test_brightness_takes_those_just_below_one_half_over_it(pick: Callable[..., Measurement]) -> None:
    """At the severities of CIFAR the value grows by .05, .1, .15, .2 and .3."""
    result = run(CorruptionError(names=("brightness",)), rows("test"))
    values = np.linspace(0.3, 0.7, 40)
    expected = [((values < 0.5) & (values > 0.5 - more)).mean() for more in (0.05, 0.1, 0.15, 0.2, 0.3)]
    (table,) = (a for a in result.artifacts if isinstance(a, Table))
    assert [line[3] for line in table.rows] == pytest.approx(expected, abs=0.026)
    assert all(line[4] <= line[3] <= line[5] for line in table.rows)
    mean = np.mean([line[3] for line in table.rows])
    assert pick(result, metric="clean-error").value == 0
    found = pick(result, metric="corruption-error", group="brightness")
    assert found.value == pytest.approx(mean)
    assert found.low is not None
    assert found.low < found.value < found.high
    assert not found.higher_is_better
    for metric in ("mean-corruption-error", "relative-mean-corruption-error"):
        assert pick(result, metric=metric).value == pytest.approx(mean)


def test_contrast_changes_nothing_of_constant_images(pick: Callable[..., Measurement]) -> None:
    result = run(CorruptionError(names=("contrast", "brightness")), rows("test"))
    assert pick(result, metric="corruption-error", group="contrast").value == 0
    assert pick(result, metric="mean-corruption-error").value == pytest.approx(
        pick(result, metric="corruption-error", group="brightness").value / 2
    )


def test_the_curve_starts_at_the_clean_error_and_follows_severities() -> None:
    result = run(CorruptionError(names=("brightness", "fog"), severities=(5, 1)), rows("test"))
    (curve,) = (a for a in result.artifacts if isinstance(a, Curve))
    assert list(curve.series) == ["all corruptions", "brightness", "fog"]
    x, y = curve.series["brightness"]
    assert x == (0.0, 1.0, 5.0)
    assert y[0] == 0
    assert y[1] < y[2]


def test_the_curve_of_many_corruptions_has_a_line_for_each_kind(pick: Callable[..., Measurement]) -> None:
    result = run(CorruptionError(severities=(2,)), rows("test"))
    (curve,) = (a for a in result.artifacts if isinstance(a, Curve))
    assert list(curve.series) == ["all corruptions", "noise", "blur", "weather", "digital"]
    assert curve.series["all corruptions"][1][1] == pytest.approx(pick(result, metric="mean-corruption-error").value)
    noises = [
        pick(result, metric="corruption-error", group=f"{n}-noise").value for n in ("gaussian", "shot", "impulse")
    ]
    assert curve.series["noise"][1][1] == pytest.approx(np.mean(noises))


def test_the_rows_are_those_of_the_first_split_without_shift() -> None:
    result = run(CorruptionError(names=("fog",)), rows("test", shifted=True), rows("test-same"))
    assert {m.split for m in result.measurements} == {"test-same"}
    none = run(CorruptionError(names=("fog",)), rows("test", shifted=True))
    assert "without shift" in none.measurements[0].note


def test_rows_are_bounded_and_the_same_each_time() -> None:
    few = CorruptionError(names=("snow",), max_rows=11)
    first, again = (run(few, rows("test")) for _ in range(2))
    assert first.measurements == again.measurements
    assert {m.n for m in first.measurements} == {11}
    other = run(CorruptionError(names=("snow",), max_rows=11, corruption_seed=1), rows("test"))
    assert other.artifacts != first.artifacts


def test_weights_count_and_units_are_resampled(pick: Callable[..., Measurement]) -> None:
    weight = torch.zeros(40)
    weight[30:] = 1
    result = run(CorruptionError(names=("brightness",)), rows("test", weight=weight))
    assert pick(result, metric="mean-corruption-error").value == 0
    assert pick(result, metric="mean-corruption-error").n == 10
    in_units = run(CorruptionError(names=("brightness",)), rows("test", unit=torch.arange(40) // 4))
    assert pick(in_units, metric="mean-corruption-error").interval == "cluster bootstrap"


def test_by_alexnet(pick: Callable[..., Measurement]) -> None:
    names = ("brightness", "frost-synth", "saturate")
    result = run(CorruptionError(names=names, scale="imagenet", baseline="alexnet"), rows("test"))
    own = pick(result, metric="corruption-error", group="brightness").value
    found = pick(result, metric="mce")
    assert found.value == pytest.approx(own / ALEXNET["brightness"])
    assert found.note == "without frost-synth, saturate, which the baseline lacks"
    assert found.low is not None
    assert found.low < found.value < found.high
    relative = pick(result, metric="relative-mce").value
    assert relative == pytest.approx(own / (ALEXNET["brightness"] - ALEXNET_CLEAN))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('names=["fogg"]', "unknown corruption 'fogg': did you mean 'fog'"),
        ("names=[]", "name each once, one at least"),
        ('names=["fog","fog"]', "name each once"),
        ("severities=[0]", r"must lie in \[1, 5\]"),
        ("baseline=alexnet", "add scale=imagenet"),
        ("baseline=alexnet:scale=imagenet:severities=[1]", "all severities"),
        ('baseline=alexnet:scale=imagenet:names=["frost-synth"]', "no errors under frost-synth"),
        ("scale=tiny", "one of cifar, imagenet"),
    ],
)
def test_options_that_cannot_be(options: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        create(Evaluation, f"corruption-error:{options}")
    assert "\n" not in str(error.value)


def test_other_inputs_are_refused() -> None:
    split = rows("test")
    data = Dataset(torch.zeros(40, 3), split.data.y, split.data.environment)
    with pytest.raises(UserError, match=r"corruptions take images .*, not \(3,\)"):
        run(CorruptionError(names=("fog",)), Split("test", "test", data))
    loud = Dataset(255 * split.data.batch().x, split.data.y, split.data.environment)
    with pytest.raises(UserError, match=r"values in \[0, 1\]"):
        run(CorruptionError(names=("fog",)), Split("test", "test", loud))
