"""Each inference finds the groups of a reference that reads a shortcut; all obey their contract."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.inference import GroupInference, require_groups
from holdfast.core.registry import create, plugins
from holdfast.experiments.inferred import adjusted_rand

N = 200


def shortcut() -> tuple[Dataset, nn.Sequential, Tensor]:
    """Rows with a label, a shortcut that is wrong on a tenth of them, noise; a network that reads the shortcut."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(N) % 2
    misled = torch.rand(N, generator=rng) < 0.1
    cue = torch.where(misled, 1 - y, y)
    x = torch.stack([2.0 * cue - 1, 2.0 * y - 1], dim=1) + 0.05 * torch.randn(N, 2, generator=rng)
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.1]]))
        network[1].weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    return Dataset(x, y, Column.constant(N)), network, misled


@pytest.mark.parametrize("name", ["errors", "eiil"])
def test_groups_of_outputs_are_where_the_shortcut_is_wrong(name: str) -> None:
    rows, network, misled = shortcut()
    groups = create(GroupInference, name).infer(rows, network, seed=0)
    assert torch.equal(groups.codes, misled.long())
    assert groups.provenance == name


@pytest.mark.parametrize("name", ["errors:by_label=true", "features", "gradients", "features:number=2"])
def test_groups_within_labels_are_the_values_of_the_shortcut(name: str) -> None:
    rows, network, misled = shortcut()
    groups = create(GroupInference, name).infer(rows, network, seed=0)
    cells = Column.product({"y": rows.column("label"), "misled": Column(misled.long(), ("no", "yes"))})
    assert adjusted_rand(groups, cells) == 1.0
    assert len(groups.names) == 4


def test_gradients_put_rows_that_are_surely_right_with_those_that_hardly_move_the_head() -> None:
    h = torch.tensor([0.1, 6.0, -2.0]).repeat(10)
    network = nn.Sequential(nn.Identity(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    rows = Dataset(h[:, None], torch.zeros(30, dtype=torch.int64), Column.constant(30))
    groups = create(GroupInference, "gradients:number=2").infer(rows, network, seed=0)
    assert torch.equal(groups.codes, (h < 0).long())


@pytest.mark.parametrize("name", plugins("inference"))
def test_equal_seeds_give_equal_codes_in_range(name: str) -> None:
    rows, network, _ = shortcut()
    inference = create(GroupInference, name)
    before = torch.random.get_rng_state()
    one, two = (inference.infer(rows, network, seed=3) for _ in range(2))
    assert torch.equal(one.codes, two.codes)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.codes.dtype == torch.int64
    assert set(one.codes.tolist()) == set(range(len(one.names)))


@pytest.mark.parametrize("name", plugins("inference"))
def test_columns_are_not_looked_at(name: str) -> None:
    rows, network, misled = shortcut()
    told = Dataset(rows.x, rows.y, Column(misled.long(), ("a", "b")), {"told": Column(misled.long(), ("a", "b"))})
    inference = create(GroupInference, name)
    assert torch.equal(inference.infer(rows, network, 0).codes, inference.infer(told, network, 0).codes)


@pytest.mark.parametrize("name", ["features", "gradients"])
def test_more_groups_than_rows_are_refused_before_training(name: str) -> None:
    rows, _, _ = shortcut()
    create(GroupInference, f"{name}:number=100").check(rows)
    with pytest.raises(UserError, match=r"101 clusters of class . are more groups than its 100 rows"):
        create(GroupInference, f"{name}:number=101").check(rows)


def test_one_group_is_refused() -> None:
    column = Column(torch.zeros(7, dtype=torch.int64), ("right", "wrong"))
    with pytest.raises(UserError, match=r"inference errors: all 7 rows are in one group \(right\): change first="):
        require_groups(column, "errors")
    two = Column(torch.tensor([0, 1]), ("right", "wrong"))
    assert require_groups(two, "errors") is two
