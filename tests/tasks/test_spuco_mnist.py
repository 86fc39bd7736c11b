"""Digits on colored backgrounds: strengths, what makes them harder, rendering."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData
from holdfast.tasks.colored_digits import COLORS
from holdfast.tasks.spuco_mnist import SpuCoMNIST
from holdfast.testing.tasks import check_task


def load(**options: Any) -> TaskData:
    return SpuCoMNIST(source="digits", **options).load()


def pixels(data: Dataset) -> torch.Tensor:
    x = data.batch().x
    assert isinstance(x, torch.Tensor)
    return x


def test_contracts() -> None:
    check_task(SpuCoMNIST(source="digits", label_noise=0.1, color_noise=0.1, coverage=0.5))


def test_neighboring_digits_are_merged() -> None:
    task = load()
    assert task.classes == ("0 to 1", "2 to 3", "4 to 5", "6 to 7", "8 to 9")
    from sklearn.datasets import load_digits

    for split in task.splits:
        assert split.data.labels.equal(torch.tensor(load_digits().target)[split.data.index] // 2)


def test_backgrounds_have_the_classes_color_as_often_as_asked() -> None:
    task = load(strengths=(0.9, 0.6))
    train, test = task.split("train").data, task.split("test").data
    own = train.attributes["background"].codes == train.labels
    for environment, strength in enumerate((0.9, 0.6)):
        assert own[train.environment.codes == environment].double().mean().item() == pytest.approx(strength, abs=0.01)
    cells = torch.bincount(test.labels * 5 + test.attributes["background"].codes, minlength=25)
    assert (cells - len(test) / 25).abs().max() < 4


def test_the_background_is_seen_where_there_is_no_figure_down_to_its_coverage() -> None:
    empty = pixels(load(coverage=0.0).split("train").data).amax(dim=1) == 0
    for coverage, rows in ((1.0, 8), (0.5, 4)):
        train = load(coverage=coverage).split("train").data
        color = torch.tensor(list(COLORS.values()))[train.attributes["background"].codes]
        expected = color[:, :, None, None].expand(-1, -1, 8, 8).clone()
        expected[:, :, rows:] = 0
        seen = empty[:, None].expand(-1, 3, -1, -1)
        torch.testing.assert_close(pixels(train)[seen], expected[seen])


def test_labels_are_wrong_as_often_as_asked_but_not_in_the_test() -> None:
    task = load(label_noise=0.2)
    for split in task.splits:
        wrong = (split.data.labels != split.data.attributes["shape"].codes).double().mean().item()
        assert wrong == pytest.approx(0.0 if split.name == "test" else 0.2, abs=5 / len(split.data))


def test_colors_vary_by_row_as_asked() -> None:
    train = load(color_noise=0.05, coverage=1.0).split("train").data
    corner = pixels(train)[:, :, 4, 0]
    color = torch.tensor(list(COLORS.values()))[train.attributes["background"].codes]
    inner = ((color > 0.2) & (color < 0.8)).all(dim=1)
    assert (corner - color)[inner].std().item() == pytest.approx(0.05, rel=0.15)


def test_rendering_a_row_from_its_own_factors_gives_it_bit_for_bit() -> None:
    task = load(label_noise=0.2, color_noise=0.05, coverage=0.5)
    assert task.render is not None
    for split in task.splits:
        factors = {k: c.codes for k, c in split.data.attributes.items()}
        assert task.render(factors, split.data.index).equal(pixels(split.data))


def test_rendering_another_background_keeps_the_figure() -> None:
    task = load()
    assert task.render is not None
    test = task.split("test").data
    shape, background = test.attributes["shape"].codes, test.attributes["background"].codes
    other = task.render({"shape": shape, "background": (background + 1) % 5}, test.index)
    white = (pixels(test) == 1.0).all(dim=1)
    assert white.any(dim=(1, 2)).double().mean() > 0.9
    assert (other == 1.0).all(dim=1).equal(white)
    assert (other != pixels(test)).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("reference", ["spuco-mnist:strengths=[]", "spuco-mnist:classes=1", "spuco-mnist:coverage=2"])
def test_refusals_are_one_line(reference: str) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, reference, source="digits").load()
    assert "\n" not in str(caught.value)
