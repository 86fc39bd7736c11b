"""The evaluation ``shortcut-gaps``: exact gaps of hand-made predictors, estimated associations, bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.evaluations.factors import Reads, task_of

from holdfast.core.artifacts import Table
from holdfast.core.data import Column
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Result
from holdfast.core.task import TaskData
from holdfast.evaluations.shortcut_gaps import ShortcutGaps
from holdfast.statistics import simultaneous_level
from holdfast.statistics.shortcut_gaps import CellAccuracies, cells_of


def run(predictor: Reads, task: TaskData, **options: object) -> Result:
    return ShortcutGaps(**options).evaluate(predictor, task, np.random.default_rng(0))  # type: ignore[arg-type]


def sentences(result: Result) -> str:
    return " ".join(finding.sentence for finding in result.findings)


@pytest.mark.parametrize("stated", [True, False])
def test_who_reads_the_color_loses_what_it_was_worth(stated: bool) -> None:
    task = task_of(test=(0.5, 0.9)) if stated else task_of(test=(0.5, 0.9), associations={})
    result = run(Reads(0, 1), task, shortcuts=("color",))
    gap, usual, unbiased = result.measurements
    assert (gap.metric, gap.n) == ("gap, color broken", 240)
    assert gap.value == pytest.approx(0 - 0.9)  # right in all of the 90 % where the color holds
    assert -0.9 - 1e-9 <= gap.low <= gap.value < gap.high < -0.85  # type: ignore[operator]
    assert (usual.metric, usual.value) == ("accuracy in distribution", pytest.approx(0.9))
    assert usual.low < usual.value  # type: ignore[operator]
    assert (unbiased.metric, unbiased.value) == ("unbiased accuracy", pytest.approx(0.25))  # of 16 pairs, 4 are right
    assert [f.subject for f in result.findings if f.alarm] == ["color broken"]
    assert ("over-represented" in sentences(result)) != stated
    table = result.artifacts[0]
    assert isinstance(table, Table)
    assert table.rows[0][:4] == ("none broken", 560, pytest.approx(90), pytest.approx(100))


def test_who_reads_the_label_has_no_gap() -> None:
    result = run(Reads(1, 0), task_of())
    assert [m.value for m in result.measurements] == [pytest.approx(0), pytest.approx(1), pytest.approx(1)]
    assert not any(f.alarm for f in result.findings)


def two_shortcuts() -> TaskData:
    """A second shortcut, ``place``, that holds in every other row whatever the color does."""
    task = task_of()
    splits = []
    for split in task.splits:
        y = split.data.labels
        place = Column(torch.where(torch.arange(400) % 8 < 4, y, (y + 1) % 4), ("n", "e", "s", "w"))
        columns = {"color": split.data.attributes["color"], "place": place}
        splits.append(dataclasses.replace(split, data=dataclasses.replace(split.data, attributes=columns)))
    return dataclasses.replace(task, splits=tuple(splits), associations={"color": (0, 1, 2, 3), "place": (0, 1, 2, 3)})


def test_every_set_of_shortcuts_has_its_gap() -> None:
    task = two_shortcuts()
    found = {m.metric: m for m in run(Reads(0, 1), task).measurements}
    values = {name: m.value for name, m in found.items()}
    assert values == {
        "gap, color broken": pytest.approx(-0.9),
        "gap, place broken": pytest.approx(0.1),
        "gap, color and place broken": pytest.approx(-0.9),
        "accuracy in distribution": pytest.approx(0.9),
        "unbiased accuracy": pytest.approx(0.25),
    }
    train, test = (split.data for split in task.splits)
    broken = [
        torch.stack([data.attributes[name].codes != data.labels for name in ("color", "place")], dim=1).numpy()
        for data in (train, test)
    ]
    shares = np.bincount(cells_of(broken[0]), minlength=4) / 400
    exact = CellAccuracies.of(
        ~broken[1][:, 0],
        cells_of(broken[1]),
        shares,
        rng=np.random.default_rng(0),
        level=simultaneous_level(0.95, 3),
    ).gap(1)
    bounds = found["gap, color broken"]
    assert (bounds.low, bounds.high) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_without_drawing_it_says_what_may_be_concluded() -> None:
    assert "none was changed" not in sentences(run(Reads(0, 1), task_of()))
    assert "none was changed" in sentences(run(Reads(0, 1), task_of(render=None)))


def test_columns_that_can_be_no_shortcut() -> None:
    one = run(Reads(0, 1), task_of(), shortcuts=("flat",))
    assert one.measurements == ()
    assert "'flat' is left out: it has one value only" in sentences(one)
    task = task_of()
    own = [
        dataclasses.replace(
            split,
            data=dataclasses.replace(
                split.data, attributes={"id": Column(torch.arange(400), tuple(map(str, range(400))))}
            ),
        )
        for split in task.splits
    ]
    many = run(Reads(0, 1), dataclasses.replace(task, splits=tuple(own), associations={}))
    assert many.measurements == ()
    assert "400 values in 400 training rows" in sentences(many)
    with pytest.raises(UserError, match="unknown shortcut 'colour': did you mean 'color'"):
        run(Reads(0, 1), task, shortcuts=("colour",))


def test_missing_cells_have_a_line() -> None:
    held = run(Reads(0, 1), task_of(test=(1.0,)))
    assert np.isnan(held.measurements[0].value)
    assert held.measurements[0].note == "no such test row"
    assert "there is no gap to measure" in sentences(held)
    broken = run(Reads(0, 1), task_of(test=(0.0,)))
    assert np.isnan(broken.measurements[0].value)
    assert "90.0 % in training, so accuracy in distribution is unknown" in sentences(broken)
