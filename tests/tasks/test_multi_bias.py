"""Multi-bias digits: strengths, independence in the test, rendering one shortcut at a time, and what ERM relies on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binom, chi2_contingency
from torch.nn.functional import cross_entropy

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData
from holdfast.tasks.colored_digits import COLORS
from holdfast.tasks.cues import associated, independent
from holdfast.tasks.multi_bias import CUES, MultiBias
from holdfast.testing.tasks import check_task

AS_IN_TRAINING = ("train", "selection", "holdout", "test-same")


def codes(data: Dataset, cue: str) -> torch.Tensor:
    return data.attributes[cue].codes


def pixels(data: Dataset) -> torch.Tensor:
    x = data.batch().x
    assert isinstance(x, torch.Tensor)
    return x


def factors(data: Dataset) -> dict[str, torch.Tensor]:
    return {"label": data.labels, **{cue: codes(data, cue) for cue in CUES}}


def shares(task: TaskData, cue: str) -> torch.Tensor:
    """Of the rows of each training environment, those whose shortcut has the class's value."""
    train = task.split("train").data
    own = (codes(train, cue) == train.labels).double()
    return torch.stack([own[train.environment.codes == e].mean() for e in train.environment.present()])


def test_each_shortcut_has_its_own_strength() -> None:
    task = MultiBias(color=(0.9,), texture=(0.6,), position=(0.3,)).load()
    for cue, strength in zip(CUES, (0.9, 0.6, 0.3), strict=True):
        for name in AS_IN_TRAINING:
            data = task.split(name).data
            share = (codes(data, cue) == data.labels).double().mean().item()
            assert share == pytest.approx(strength, abs=4 / len(data))


def test_shortcuts_are_independent_of_each_other_given_the_class() -> None:
    found = [MultiBias(color=(0.7,), texture=(0.6,), position=(0.5,), data_seed=s).load() for s in range(4)]
    train = [task.split("train").data for task in found]
    own = {cue: torch.cat([codes(data, cue) == data.labels for data in train]) for cue in CUES}
    for one, other in itertools.combinations(CUES, 2):
        table = torch.bincount(own[one].long() * 2 + own[other].long(), minlength=4).view(2, 2)
        assert chi2_contingency(table.numpy()).pvalue > 1e-4


def test_strengths_may_differ_by_environment() -> None:
    task = MultiBias(color=(1.0, 0.8), texture=(0.9,), position=(0.5, 0.7)).load()
    names = ("color 1, texture 0.9, position 0.5", "color 0.8, texture 0.9, position 0.7")
    assert task.split("train").data.environment.names[:2] == names
    for cue, expected in zip(CUES, ((1.0, 0.8), (0.9, 0.9), (0.5, 0.7)), strict=True):
        torch.testing.assert_close(shares(task, cue), torch.tensor(expected).double(), atol=0.01, rtol=0)


def test_other_values_are_uniform() -> None:
    labels = torch.arange(10).repeat(2000)
    values = associated(labels, 10, torch.full(labels.shape, 0.5), labels, torch.Generator().manual_seed(0))
    shift = torch.bincount((values - labels) % 10, minlength=10)
    assert int(shift[0]) == pytest.approx(10_000, abs=10)
    assert shift[1:].min() > binom.ppf(1e-6, 10_000, 1 / 9)
    assert shift[1:].max() < binom.isf(1e-6, 10_000, 1 / 9)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_strength_of_zero_or_one_is_exact(strength: float) -> None:
    labels = torch.arange(7).repeat(30)
    values = associated(labels, 7, torch.full(labels.shape, strength), labels, torch.Generator().manual_seed(0))
    assert (values == labels).double().unique().tolist() == [strength]


def test_the_test_deals_shortcuts_evenly() -> None:
    two = MultiBias(classes=2).load().split("test").data
    cell = ((two.labels * 2 + codes(two, "color")) * 2 + codes(two, "texture")) * 2 + codes(two, "position")
    sizes = torch.bincount(cell, minlength=16)
    assert (sizes - len(two) / 16).abs().max() <= 2
    ten = MultiBias().load().split("test").data
    for cue in CUES:
        pairs = torch.bincount(ten.labels * 10 + codes(ten, cue), minlength=100)
        assert pairs.min() >= 1
        assert (codes(ten, cue) == ten.labels).double().mean().item() == pytest.approx(0.1, abs=0.04)


def test_independent_values_fill_all_combinations() -> None:
    labels = torch.arange(3).repeat(81)
    dealt = independent(labels, 3, CUES, torch.Generator().manual_seed(0))
    cell = labels
    for values in dealt.values():
        cell = cell * 3 + values
    sizes = torch.bincount(cell, minlength=81)
    assert (sizes - 3).abs().max() <= 1


def test_the_agreement_names_the_shortcuts_that_have_the_classes_value() -> None:
    task = MultiBias(classes=2).load()
    for split in task.splits:
        column = split.data.attributes["agreement"]
        for row, code in enumerate(column.codes.tolist()):
            own = [cue for cue in CUES if codes(split.data, cue)[row] == split.data.labels[row]]
            assert column.names[code] == ("+".join(own) or "none")
    assert task.groups == ("agreement",)


@pytest.mark.parametrize("options", [{}, {"classes": 2}, {"classes": 3, "rows": 1000}])
def test_rendering_a_row_from_its_own_factors_gives_it_bit_for_bit(options: dict[str, Any]) -> None:
    task = MultiBias(**options).load()
    assert task.render is not None
    for split in task.splits:
        assert task.render(factors(split.data), split.data.index).equal(pixels(split.data))


def test_rendering_another_color_changes_no_other_thing() -> None:
    task = MultiBias(texture_contrast=0.0).load()
    assert task.render is not None
    test = task.split("test").data
    other = task.render({**factors(test), "color": (codes(test, "color") + 1) % 10}, test.index)
    own = pixels(test)
    assert (other.sum(dim=1) > 0).equal(own.sum(dim=1) > 0)
    assert not other.equal(own)


def test_rendering_another_position_moves_the_figure_over_the_same_texture() -> None:
    task = MultiBias(texture_contrast=0.25).load()
    assert task.render is not None
    test = task.split("test").data
    right, left = (
        task.render({**factors(test), "position": torch.full_like(test.labels, p)}, test.index) for p in (0, 5)
    )
    # figures of 8 × 8 pixels at rows 4 to 11; on the right in columns 8 to 15, on the left in columns 0 to 7
    ground = torch.cat([right[..., :8], left[..., 8:]], dim=-1)
    assert ground[:, 0].equal(ground[:, 1])
    assert ground.unique().tolist() == [0.0, 0.25]
    elsewhere = torch.ones(16, dtype=torch.bool)
    elsewhere[4:12] = False
    assert right[:, :, elsewhere].equal(left[:, :, elsewhere])


def test_rendering_another_texture_keeps_the_figure() -> None:
    task = MultiBias().load()
    assert task.render is not None
    test = task.split("test").data
    drawn = [task.render({**factors(test), "texture": torch.full_like(test.labels, t)}, test.index) for t in range(10)]
    # where the figure has its full color nothing of the background is seen
    brightest = torch.tensor(list(COLORS.values())).amax(dim=1)[codes(test, "color")]
    full = pixels(MultiBias(texture_contrast=0.0).load().split("test").data).amax(dim=1) >= brightest[:, None, None]
    assert full.sum() > len(test)
    assert all(x.transpose(0, 1)[:, full].equal(drawn[0].transpose(0, 1)[:, full]) for x in drawn)
    assert all(not one.equal(other) for one, other in itertools.combinations(drawn, 2))


def test_rendering_another_class_shows_an_image_of_the_same_split() -> None:
    task = MultiBias(texture_contrast=0.0).load()
    assert task.render is not None
    test = task.split("test").data
    same = {cue: torch.zeros_like(test.labels) for cue in CUES}
    sevens = task.render({"label": torch.full_like(test.labels, 7), **same}, test.index)
    own = task.render({"label": test.labels, **same}, test.index)[test.labels == 7]
    assert {tuple(x.flatten().tolist()) for x in sevens} == {tuple(x.flatten().tolist()) for x in own}


def test_associations_are_of_value_with_class_of_the_same_number() -> None:
    assert MultiBias(classes=4).load().associations == dict.fromkeys(CUES, (0, 1, 2, 3))


def test_mnist_is_halved_and_merged(standin_data: Path) -> None:
    task = create(Task, "multi-bias", source="mnist", classes=2, data_dir=str(standin_data))
    check_task(task)
    data = task.load()
    assert data.input_shape == (3, 28, 28)
    assert data.classes == ("0 to 4", "5 to 9")
    assert (data.split("test").data.index >= 1200).all()


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("multi-bias:color=[]", "color=[] has 0 strengths"),
        ("multi-bias:color=[]:texture=[]:position=[]", "color=[] has 0 strengths"),
        ("multi-bias:color=[0.9,0.8]:texture=[0.9,0.8,0.7]", "color=[0.9, 0.8] has 2 strengths"),
        ("multi-bias:color=[1.5]", "out of range"),
        ("multi-bias:classes=1", "out of range"),
        ("multi-bias:classes=11", "out of range"),
        ("multi-bias:source=svhn", "source=svhn"),
        ("multi-bias:source=mnist:data_dir=/nowhere", "no folder 'mnist'"),
    ],
)
def test_refusals_are_one_line(reference: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, reference).load()
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)


def test_erm_relies_on_every_shortcut() -> None:
    """Of two classes: right where the shortcuts agree with the class, wrong where they do not; each one counts."""
    task = MultiBias(classes=2).load()
    train, test = task.split("train").data, task.split("test").data
    x = pixels(train)
    torch.manual_seed(0)
    network = task.model.build(task.input_shape, task.outputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(150):
        rows = torch.randint(len(train), (128,))
        loss = cross_entropy(network(x[rows]), train.labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        predicted = network(pixels(test)).argmax(1)
    right = (predicted == test.labels).double()
    agreement = test.attributes["agreement"]
    accuracy = {agreement.names[c]: right[agreement.codes == c].mean().item() for c in agreement.present()}
    assert accuracy["color+texture+position"] > 0.95
    assert accuracy["none"] < 0.2
    for cue in CUES:
        follows = (predicted == codes(test, cue))[codes(test, cue) != test.labels].double().mean().item()
        assert follows > 0.6
