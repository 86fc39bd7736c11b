"""The spirals: geometry, shortcuts that hold in one environment, and seeds."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.seeds import numpy_rng
from holdfast.core.task import Task
from holdfast.tasks.spirals_shortcuts import SpiralsShortcuts


def inputs(data: Dataset) -> torch.Tensor:
    assert isinstance(data.x, torch.Tensor)
    return data.x


def small(**options: int | float) -> SpiralsShortcuts:
    defaults = {"environments": 3, "rows_per_environment": 64, "selection_environments": 2, "test_rows": 90}
    return SpiralsShortcuts(**{**defaults, **options})  # type: ignore[arg-type]


def test_published_sizes() -> None:
    task = SpiralsShortcuts().load()
    sizes = {split.name: (len(split.data), split.role, split.shifted) for split in task.splits}
    assert sizes == {
        "train": (16 * 1024, "train", False),
        "selection": (8 * 256, "selection", True),
        "test-same": (2000, "test", False),
        "test": (2000, "test", True),
    }
    assert task.input_shape == (18,)
    train = task.split("train").data
    assert torch.bincount(train.environment.codes).tolist() == [1024] * 16
    assert torch.cat([split.data.index for split in task.splits]).equal(torch.arange(16384 + 2048 + 4000))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), revs=st.floats(0.5, 4), noise=st.floats(0, 0.1))
def test_the_mechanism_is_the_formula(seed: int, revs: float, noise: float) -> None:
    """Row by row with scalars: the angle from the radius before the noise, the point from the radius after it."""
    train = small(data_seed=seed, revs=revs, noise=noise).load().split("train").data
    rng = numpy_rng(seed, "spirals-shortcuts", "train", "environment 1")
    y, radius, shift = rng.integers(2, size=64), rng.uniform(0.08, 1, 64), rng.uniform(-noise, noise, 64)
    points = []
    for label, r, s in zip(y.tolist(), radius.tolist(), shift.tolist(), strict=True):
        angle = 2 * math.pi * revs * r + math.pi * label
        points.append([math.cos(angle) * (r + s), math.sin(angle) * (r + s)])
    scales = [statistics.pstdev(column) for column in zip(*points, strict=True)]
    expected = torch.tensor([[x / scales[0], z / scales[1]] for x, z in points])
    assert train.labels[:64].tolist() == y.tolist()
    torch.testing.assert_close(inputs(train)[:64, :2], expected)


def test_the_other_class_is_the_opposite_point() -> None:
    """Two interleaved spirals: mirrored rows of class 1 lie among rows of class 0."""
    train = small(noise=0.0, environments=1, rows_per_environment=4096).load().split("train").data
    points = inputs(train)[:, :2]
    distance = torch.cdist(-points[train.labels == 1], points[train.labels == 0]).amin(dim=1)
    assert distance.max() < 0.2 < torch.cdist(points[train.labels == 1], points[train.labels == 0]).amin(dim=1).median()


def test_a_shortcut_tells_the_class_in_its_environment() -> None:
    task = small().load()
    vectors: dict[int, torch.Tensor] = {}
    for name in ("train", "selection", "test-same"):
        data = task.split(name).data
        for environment in sorted(set(data.environment.codes.tolist())):
            rows = data.environment.codes == environment
            signed = inputs(data)[rows, 2:] * (2 * data.labels[rows, None] - 1)
            assert (signed == signed[0]).all()
            vectors.setdefault(environment, signed[0])
            assert signed[0].equal(vectors[environment]), "test-same has the shortcuts of the training"
    assert len({tuple(vector.tolist()) for vector in vectors.values()}) == 5


def test_test_shortcuts_are_fresh_and_independent_of_the_class() -> None:
    test = SpiralsShortcuts(environments=1, rows_per_environment=2, test_rows=4000).load().split("test").data
    shortcut = inputs(test)[:, 2:]
    assert len(shortcut[:, 0].unique()) == 4000  # type: ignore[no-untyped-call]
    assert shortcut.mean(dim=0).abs().max() < 4.5 / 4000**0.5
    assert (shortcut * (2 * test.labels[:, None] - 1)).mean(dim=0).abs().max() < 4.5 / 4000**0.5


def test_an_environment_stays_the_same_among_more() -> None:
    few, more = (small(environments=e).load().split("train").data for e in (2, 4))
    assert inputs(few).equal(inputs(more)[:128])
    assert small().load().fingerprint() == small().load().fingerprint() != small(data_seed=1).load().fingerprint()


def test_picture_draws() -> None:
    assert small().load().pictures[0].to_html().count("<img") == 2


@pytest.mark.parametrize("options", ["environments=0", "d_shortcut=1", "noise=-1", "revs=0", "test_rows=1.5"])
def test_refusals(options: str) -> None:
    with pytest.raises(UserError):
        create(Task, f"spirals-shortcuts:{options}")
