"""Dominoes: which half is meant, how often the other goes with it, and that no image is in two splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData
from holdfast.tasks.dominoes import Dominoes
from holdfast.testing.tasks import check_task

EMBEDDED: dict[str, Any] = {"top": "digits", "bottom": "digits"}
Load = Callable[..., TaskData]


@pytest.fixture
def load(standin_data: Path) -> Load:
    """The task on the stand-in, whose garments are called 0 to 9."""
    return lambda **options: Dominoes(**{"bottom_classes": ("3", "8"), **options}, data_dir=str(standin_data)).load()


def pixels(data: Dataset) -> torch.Tensor:
    x = data.batch().x
    assert isinstance(x, torch.Tensor)
    return x


def shown(half: torch.Tensor) -> torch.Tensor:
    """The class that an image of the stand-in shows: 255 less the grey of its square."""
    return 255 - half[:, 0, 5, 5].mul(255).round().long()


def test_contracts(standin_data: Path) -> None:
    check_task(Dominoes(data_dir=str(standin_data), bottom_classes=("3", "8")))
    check_task(Dominoes(**EMBEDDED))


@pytest.mark.parametrize("label", ["top", "bottom"])
def test_halves_show_what_the_label_and_the_column_say(label: str, load: Load) -> None:
    task = load(label=label, strength=(0.8,))
    other = "bottom" if label == "top" else "top"
    classes = {"top": torch.tensor([0, 1]), "bottom": torch.tensor([3, 8])}
    assert task.input_shape == (1, 56, 28)
    assert task.classes == (("0", "1") if label == "top" else ("3", "8"))
    for split in task.splits:
        x = pixels(split.data)
        halves = {"top": x[:, :, :28], "bottom": x[:, :, 28:]}
        assert shown(halves[label]).equal(classes[label][split.data.labels])
        assert shown(halves[other]).equal(classes[other][split.data.attributes[other].codes])


def test_the_other_half_goes_with_the_label_as_often_as_asked(load: Load) -> None:
    task = load(strength=(1.0, 0.75))
    train = task.split("train").data
    agrees = train.attributes["top"].codes == train.labels
    for environment, strength in enumerate((1.0, 0.75)):
        assert agrees[train.environment.codes == environment].double().mean().item() == pytest.approx(
            strength, abs=0.03
        )
    test = task.split("test").data
    assert (torch.bincount(test.labels * 2 + test.attributes["top"].codes) - 10).abs().max() <= 1


@pytest.mark.parametrize("label", ["top", "bottom"])
def test_rendering_a_row_from_its_own_factors_gives_it_bit_for_bit(label: str, load: Load) -> None:
    for task in (load(label=label), Dominoes(**EMBEDDED, label=label).load()):  # type: ignore[arg-type]
        assert task.render is not None
        for split in task.splits:
            factors = {"label": split.data.labels, **{k: c.codes for k, c in split.data.attributes.items()}}
            assert task.render(factors, split.data.index).equal(pixels(split.data))


def test_rendering_one_half_keeps_the_other(load: Load) -> None:
    task = load()
    assert task.render is not None
    test = task.split("test").data
    top = test.attributes["top"].codes
    other_top = task.render({"label": test.labels, "top": 1 - top}, test.index)
    assert other_top[:, :, 28:].equal(pixels(test)[:, :, 28:])
    assert shown(other_top[:, :, :28]).equal(1 - top)
    other_bottom = task.render({"label": 1 - test.labels, "top": top}, test.index)
    assert other_bottom[:, :, :28].equal(pixels(test)[:, :, :28])
    assert shown(other_bottom[:, :, 28:]).equal(torch.tensor([8, 3])[test.labels])


def test_no_image_is_in_two_splits(load: Load) -> None:
    task = load()
    seen: dict[bytes, str] = {}
    for split in task.splits:
        for image in pixels(split.data):
            for half in (image[:, :28], image[:, 28:]):
                assert seen.setdefault(half.numpy().tobytes(), split.name) == split.name


def test_all_classes_make_ten_pairs(load: Load) -> None:
    task = load(top_classes=(), bottom_classes=(), strength=(1.0,))
    assert task.outputs == 10
    train = task.split("train").data
    assert shown(pixels(train)[:, :, :28]).equal(shown(pixels(train)[:, :, 28:]))
    assert task.associations == {"top": tuple(range(10))}


def test_smaller_grey_images_are_put_in_the_middle_of_color(data_root: Path) -> None:
    task = Dominoes(bottom="cifar10", rows=1000).load()
    x = pixels(task.split("train").data)
    assert x.shape[1:] == (3, 64, 32)
    assert task.classes == ("truck", "automobile")
    top = x[:, :, :32]
    assert top[:, 0].equal(top[:, 2])
    assert top[:, :, [0, 1, 30, 31]].abs().max() == 0
    assert top[..., [0, 1, 30, 31]].abs().max() == 0
    assert not x[:, 0, 32:].equal(x[:, 2, 32:])


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("dominoes:strength=[]", "strength=[] leaves no training environment"),
        ('dominoes:top_classes=["0"]', "name two different ones at least"),
        ('dominoes:top_classes=["0","0"]', "name two different ones at least"),
        ('dominoes:top_classes=["0","x"]', "unknown class 'x'"),
        ('dominoes:bottom_classes=["1","2","3"]', "2 top classes and 3 bottom classes make no pairs"),
    ],
)
def test_refusals_are_one_line(reference: str, text: str, standin_data: Path) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, reference, data_dir=str(standin_data)).load()
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)


def test_without_a_folder_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    with pytest.raises(UserError, match="the data set 'mnist' is needed"):
        Dominoes().load()
