"""The diagonal and what lies off it, and two networks that prefer different cues."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import binom

from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task
from holdfast.tasks.cue_diagonal import CueDiagonal
from holdfast.tasks.cues import conflicting

CUES = ("color", "texture", "position")


def test_cues_are_the_class_on_the_diagonal_and_all_different_off_it() -> None:
    task = CueDiagonal(cues=CUES).load()
    for split in task.splits:
        codes = [split.data.labels, *(split.data.attributes[cue].codes for cue in CUES)]
        for one, other in itertools.combinations(codes, 2):
            assert (one != other).all() if split.name == "test" else (one == other).all()
    assert task.split("test").data.environment.present() == [1]
    assert task.split("train").data.environment.present() == [0]


def test_all_combinations_off_the_diagonal_are_equally_likely() -> None:
    labels = torch.zeros(24_000, dtype=torch.int64)
    found = conflicting(labels, 4, ("a", "b"), torch.Generator().manual_seed(0))
    counts = torch.bincount(found["a"] * 4 + found["b"], minlength=16).view(4, 4)
    possible = torch.tensor([[a != b and a > 0 and b > 0 for b in range(4)] for a in range(4)])
    assert (counts[~possible] == 0).all()
    assert counts[possible].min() > binom.ppf(1e-6, 24_000, 1 / 6)
    assert counts[possible].max() < binom.isf(1e-6, 24_000, 1 / 6)


def test_cues_that_are_not_named_are_independent_of_the_class() -> None:
    task = CueDiagonal(cues=("position",)).load()
    assert set(task.split("train").data.attributes) == {"position"}
    assert set(task.associations) == {"position"}
    x = task.split("train").data.batch().x
    assert isinstance(x, torch.Tensor)
    red_or_blue = x.sum(dim=(2, 3))[:, 0] > x.sum(dim=(2, 3))[:, 2]
    labels = task.split("train").data.labels
    shares = torch.stack([red_or_blue[labels == label].double().mean() for label in range(10)])
    assert shares.min() > 0.3
    assert shares.max() < 0.9


def test_rendering_a_row_from_its_own_factors_gives_it_bit_for_bit() -> None:
    for cues in (("color",), ("color", "position"), CUES):
        task = CueDiagonal(cues=cues).load()  # type: ignore[arg-type]
        assert task.render is not None
        for split in task.splits:
            factors = {"label": split.data.labels, **{k: c.codes for k, c in split.data.attributes.items()}}
            assert task.render(factors, split.data.index).equal(split.data.batch().x)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("cue-diagonal:cues=[]", "name each once"),
        ("cue-diagonal:cues=[color,color]", "name each once"),
        ("cue-diagonal:cues=[shape]", "shape"),
        ("cue-diagonal:classes=2", "cannot all say another of 2 classes"),
        ("cue-diagonal:classes=3:cues=[color,texture,position]", "cannot all say another"),
    ],
)
def test_refusals_are_one_line(reference: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, reference).load()
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)
