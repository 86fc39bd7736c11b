"""Random labels: how many, where, and that the test keeps its own."""

from __future__ import annotations

import os

import pytest
import torch

from holdfast.core.errors import UserError
from holdfast.tasks.random_labels import CHANGED, RandomLabels

needs_data = pytest.mark.skipif(not os.environ.get("HOLDFAST_DATA"), reason="HOLDFAST_DATA names no data sets")


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_so_many_labels_are_drawn(fraction: float) -> None:
    """A tenth of the drawn ones are right by chance."""
    true, noisy = (RandomLabels(fraction=f, rows=1200).load() for f in (0.0, fraction))
    for split in noisy.splits:
        same = split.data.labels == true.split(split.name).data.labels
        assert torch.equal(split.data.index, true.split(split.name).data.index)
        origin = split.data.attributes["origin"]
        assert torch.equal(origin.codes == origin.names.index(CHANGED), ~same)
        if split.name == "test":
            assert same.all()
        if split.name == "train":
            assert (~same).double().mean() == pytest.approx(0.9 * fraction, abs=0.04)


def test_random_labels_say_nothing_of_the_picture() -> None:
    true, noisy = (RandomLabels(fraction=f, rows=1200).load().split("train").data.labels for f in (0.0, 1.0))
    table = torch.zeros(10, 10).index_put_((true, noisy), torch.tensor(1.0), accumulate=True)
    expected = table.sum(1, keepdim=True) * table.sum(0) / table.sum()
    assert ((table - expected).square() / expected).sum() < 81 + 4 * (2 * 81) ** 0.5


def test_more_rows_than_there_are() -> None:
    with pytest.raises(UserError, match=r"digits has 1,3.. rows for training and selection.*ask for fewer"):
        RandomLabels(rows=1300).load()
    whole = RandomLabels(rows=None).load()
    assert len(whole.split("train").data) + len(whole.split("selection").data) > 1300


@needs_data
@pytest.mark.parametrize(("source", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_data_sets(source: str, shape: tuple[int, ...]) -> None:
    task = RandomLabels(source=source, rows=300, test_rows=100).load()  # type: ignore[arg-type]
    assert task.input_shape == shape
    assert [len(split.data) for split in task.splits] == [300, 30, 100]
    assert task.split("test").data.index.min() >= (60_000 if source == "mnist" else 50_000)
    assert len(task.classes) == 10
