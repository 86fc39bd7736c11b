"""Slabs: where they lie and how often, what a threshold can tell, rotation, blocks that are exchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData
from holdfast.perturbations import block_exchanged
from holdfast.tasks.slab_coordinates import SHARES, linear_coordinate, slab_coordinate
from holdfast.tasks.slabs import Slabs

MARGIN = 0.1


def drawn(slabs: int, rows: int = 40_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of equal number and a coordinate."""
    label = torch.arange(rows) % 2
    return label, slab_coordinate(label, slabs, MARGIN, torch.Generator().manual_seed(slabs))


def within_bounds(hits: torch.Tensor, probability: float) -> bool:
    """Whether so many hits are likely, at one in a million on either side."""
    low, high = binom.ppf(1e-6, len(hits), probability), binom.isf(1e-6, len(hits), probability)
    return bool(low <= int(hits.sum()) <= high)


# The intervals on the right of 0 as the authors' code has them, for width 1 and margin γ = .1: ends and class.
PUBLISHED = {
    3: [(0.0, 0.5 * 1.6 / 3, 0), (0.5 * 1.6 / 3 + 0.2, 1.0, 1)],
    5: [(0.0, 0.12, 0), ((1 + 0.6) / 5, (1 + 0.6) / 5 + 0.24, 1), ((0.8 + 3) / 5, 1.0, 0)],
    7: [
        (0.0, 0.4 / 7, 0),
        (0.4 / 7 + 0.2, 1.2 / 7 + 0.2, 1),
        (1.2 / 7 + 0.4, 2.0 / 7 + 0.4, 0),
        (2.0 / 7 + 0.6, 1.0, 1),
    ],
}


@pytest.mark.parametrize("slabs", [3, 5, 7])
def test_slabs_lie_where_the_authors_put_them(slabs: int) -> None:
    label, x = drawn(slabs)
    inside = torch.zeros(len(x), dtype=torch.int64)
    for low, high, of in PUBLISHED[slabs]:
        here = (x.abs() >= low - 1e-9) & (x.abs() <= high + 1e-9)
        assert (label[here] == of).all()
        # ends are reached, and the inside is filled evenly
        assert x[here].abs().min() == pytest.approx(low, abs=0.005)
        assert x[here].abs().max() == pytest.approx(high, abs=0.005)
        assert within_bounds(x[here].abs() < (low + high) / 2, 0.5)
        inside += here.long()
    assert (inside == 1).all()
    assert within_bounds(x > 0, 0.5)


@pytest.mark.parametrize("slabs", [3, 5, 7])
def test_slabs_have_their_shares(slabs: int) -> None:
    label, x = drawn(slabs)
    for place, (low, high, of) in enumerate(PUBLISHED[slabs]):
        here = (x.abs() >= low - 1e-9) & (x.abs() <= high + 1e-9)
        if SHARES[slabs][place] < 1:
            assert within_bounds(here[label == of], SHARES[slabs][place])
    # of the authors' code: 3/4 in the middle of five; 7/8 in the inner pair and half in the middle of seven
    assert SHARES[5][0] == 0.75
    assert (SHARES[7][1], SHARES[7][0]) == (0.875, 0.5)


@pytest.mark.parametrize(("slabs", "best"), [(3, 0.75), (5, 0.6875), (7, 0.625)])
def test_no_threshold_tells_the_class(slabs: int, best: float) -> None:
    label, x = drawn(slabs)
    ordered = label[x.argsort()].double()
    ones_below = ordered.cumsum(0)
    right = (ones_below + (1 - ordered).sum() - (1 - ordered).cumsum(0)) / len(x)  # class 1 below the threshold
    assert max(right.max(), (1 - right).max()).item() == pytest.approx(best, abs=0.01)


def test_the_sign_of_the_linear_coordinate_tells_the_class_with_a_margin() -> None:
    label = torch.arange(10_000) % 2
    x = linear_coordinate(label, MARGIN, torch.Generator().manual_seed(0))
    assert ((x > 0).long() == label).all()
    assert x.abs().min().item() == pytest.approx(MARGIN, abs=0.001)
    assert x.abs().max().item() == pytest.approx(1.0, abs=0.001)
    assert within_bounds(x.abs() < 0.55, 0.5)


def task_and_data(**options: Any) -> tuple[Slabs, TaskData]:
    task = Slabs(**{"rows": 2000, "dimensions": 6, **options})
    return task, task.load()


def coordinates(task: Slabs, x: torch.Tensor) -> torch.Tensor:
    return x.double() @ task.rotation().T


def test_the_rotation_is_orthogonal_and_depends_on_the_seed() -> None:
    task, _ = task_and_data()
    rotation = task.rotation()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(6, dtype=torch.float64))
    assert not rotation.equal(Slabs(dimensions=6, data_seed=1).rotation())
    assert Slabs(dimensions=6, rotate=False).rotation().equal(torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize("rotate", [True, False])
def test_each_block_shows_the_class_that_its_column_says(rotate: bool) -> None:
    task, data = task_and_data(rotate=rotate)
    for split in data.splits:
        z = coordinates(task, split.data.batch().x)  # type: ignore[arg-type]
        assert ((z[:, 0] > 0).long() == split.data.attributes["simple"].codes).all()
        # of five slabs those of class 1 are the second from the middle
        second = (z[:, 1:].abs() > 0.2) & (z[:, 1:].abs() < 0.66)
        assert (second.long() == split.data.attributes["complex"].codes[:, None]).all()


def test_tests_cut_one_block_from_the_label() -> None:
    _, data = task_and_data()
    random = {"test": "simple", "test-complex-random": "complex"}
    for split in data.splits:
        for block in ("simple", "complex"):
            agrees = split.data.attributes[block].codes == split.data.labels
            assert within_bounds(agrees, 0.5) if random.get(split.name) == block else agrees.all()
    assert {split.name for split in data.splits if split.shifted} == set(random)


@pytest.mark.parametrize(
    "options", [{}, {"complex": "7-slab", "noise": 0.1}, {"simple": "5-slab", "complex": "7-slab"}]
)
def test_rendering_a_row_from_its_own_factors_gives_it_bit_for_bit(options: dict[str, Any]) -> None:
    _, data = task_and_data(**options)
    assert data.render is not None
    for split in data.splits:
        factors = {name: column.codes for name, column in split.data.attributes.items()}
        assert data.render(factors, split.data.index).equal(split.data.x)  # type: ignore[arg-type]


def test_rendering_the_other_class_of_a_block_changes_that_block_alone() -> None:
    task, data = task_and_data()
    assert data.render is not None
    test = data.split("test-same").data
    own = {name: column.codes for name, column in test.attributes.items()}
    before = coordinates(task, test.batch().x)  # type: ignore[arg-type]
    simple = coordinates(task, data.render({**own, "simple": 1 - own["simple"]}, test.index))
    torch.testing.assert_close(simple[:, 1:], before[:, 1:], atol=1e-5, rtol=0)
    assert ((simple[:, 0] > 0) != (before[:, 0] > 0)).all()
    blocks = coordinates(task, data.render({**own, "complex": 1 - own["complex"]}, test.index))
    torch.testing.assert_close(blocks[:, 0], before[:, 0], atol=1e-5, rtol=0)
    # whole blocks of other rows: each is one of the split
    own_blocks = {tuple(row) for row in before[:, 1:].mul(1e3).round().long().tolist()}
    found = sum(tuple(row) in own_blocks for row in blocks[:, 1:].mul(1e3).round().long().tolist())
    assert found > 0.98 * len(blocks)  # but for rounding


def test_noise_makes_the_linear_coordinate_useless_in_its_share_of_the_rows() -> None:
    task, data = task_and_data(complex="7-slab", noise=0.1, rows=10_000)
    train = data.split("train").data
    first = coordinates(task, train.batch().x)[:, 0]  # type: ignore[arg-type]
    within = first.abs() < MARGIN - 1e-6
    assert within_bounds(within, 0.1)
    assert within_bounds(((first > 0).long() == train.labels)[within], 0.5)
    assert ((first > 0).long() == train.labels)[~within].all()


def test_slabs_alone_are_not_linearly_separable() -> None:
    task, data = task_and_data(rows=4000, dimensions=10)
    train, test = data.split("train").data, data.split("test").data
    fitted = LogisticRegression().fit(coordinates(task, train.batch().x)[:, 1:], train.labels)  # type: ignore[arg-type]
    z = coordinates(task, test.batch().x)[:, 1:]  # type: ignore[arg-type]
    assert fitted.score(z, test.labels) < 0.6
    everything = LogisticRegression(C=100.0).fit(train.batch().x, train.labels)
    assert everything.score(data.split("test-same").data.batch().x, data.split("test-same").data.labels) > 0.99


def test_coordinates_are_independent_given_the_class() -> None:
    task, data = task_and_data(rows=20_000)
    train = data.split("train").data
    z = coordinates(task, train.batch().x)[train.labels == 1].numpy()  # type: ignore[arg-type]
    off_diagonal = np.corrcoef(z.T)[~np.eye(6, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(len(z))


def test_an_exchanged_block_is_the_donors_and_the_rest_is_kept() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((50, 6), generator=rng, dtype=torch.float64)
    basis = Slabs(dimensions=6).rotation()
    donors = torch.randperm(50, generator=rng)
    changed = block_exchanged(x, donors, basis[2:5]) @ basis.T
    before = x @ basis.T
    torch.testing.assert_close(changed[:, 2:5], before[donors][:, 2:5])
    torch.testing.assert_close(changed[:, [0, 1, 5]], before[:, [0, 1, 5]])


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("slabs:complex=9-slab", "9-slab"),
        ("slabs:margin=0.3", "leaves no width to a 5-slab coordinate"),
        ("slabs:complex=7-slab:margin=0.2", "give one below 0.167"),
        ("slabs:margin=1:complex=3-slab", "leaves no width to a linear coordinate"),
        ("slabs:simple=5-slab:noise=0.1", "set simple=linear"),
        ("slabs:dimensions=1", "out of range"),
    ],
)
def test_refusals_are_one_line(reference: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, reference).load()
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)
