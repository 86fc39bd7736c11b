"""Colored digits: strengths, splits, rendering, the oracle's grey, and how hard it is."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch.nn.functional import cross_entropy

from holdfast.core.data import Dataset, Inputs
from holdfast.core.errors import UserError
from holdfast.core.registry import create
from holdfast.core.task import Task, TaskData
from holdfast.tasks.colored_digits import COLORS, ColoredDigits

AS_IN_TRAINING = ("train", "selection", "holdout", "test-same")


def colors(data: Dataset) -> torch.Tensor:
    return data.attributes["color"].codes


def within_bounds(hits: torch.Tensor, probability: float) -> bool:
    """Whether so many hits are likely, at one in a million on either side."""
    low = float(binom.ppf(1e-6, len(hits), probability))
    high = float(binom.isf(1e-6, len(hits), probability))
    return low <= int(hits.sum()) <= high


def test_shapes_roles_and_sizes() -> None:
    task = ColoredDigits().load()
    sizes = {split.name: len(split.data) for split in task.splits}
    assert sum(sizes.values()) == 1797
    assert 0.45 <= sizes["train"] / 1797 <= 0.5
    assert sizes["test"] / 1797 == pytest.approx(0.3, abs=0.02)
    assert [(split.name, split.role) for split in task.splits if split.shifted] == [("test", "test")]
    assert torch.cat([split.data.index for split in task.splits]).sort()[0].equal(torch.arange(1797))
    for split in task.splits:
        x = split.data.batch().x
        assert isinstance(x, torch.Tensor)
        assert x.shape[1:] == (3, 8, 8)
        assert 0 <= x.min() <= x.max() <= 1
    assert task.groups == ("color",)
    assert task.outputs == 10


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_strengths_lie_within_binomial_bounds(seed: int) -> None:
    task = ColoredDigits(data_seed=seed).load()
    for environment, strength in enumerate((0.99, 0.90)):
        rows = [split.data for split in task.splits if split.name in AS_IN_TRAINING]
        own = torch.cat([(colors(d) == d.labels)[d.environment.codes == environment] for d in rows])
        assert within_bounds(own, strength)


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_test_colors_are_never_the_labels_and_uniform_otherwise(seed: int) -> None:
    test = ColoredDigits(data_seed=seed).load().split("test").data
    shift = (colors(test) - test.labels) % 10
    assert (shift != 0).all()
    assert all(within_bounds(shift == other, 1 / 9) for other in range(1, 10))


def test_a_test_strength_of_one_tenth_makes_colors_independent_of_labels() -> None:
    tests = [ColoredDigits(data_seed=seed, test_strength=0.1).load().split("test").data for seed in range(4)]
    own = torch.cat([colors(test) == test.labels for test in tests])
    assert within_bounds(own, 0.1)


def test_environments_and_labels_are_spread_evenly() -> None:
    task = ColoredDigits().load()
    for split in task.splits:
        labels = torch.bincount(split.data.labels, minlength=10)
        assert labels.min() >= 0.1 * len(split.data) - 4
        if split.name in AS_IN_TRAINING:
            assert split.data.environment.names == ("strength 0.99", "strength 0.9", "misleading colors")
            environments = torch.bincount(split.data.environment.codes, minlength=3)
            assert abs(int(environments[0] - environments[1])) <= 8
            assert environments[2] == 0


def test_maps_per_environment_differ_in_every_label() -> None:
    task = ColoredDigits(palette="per-environment", strengths=(1.0, 1.0, 1.0)).load()
    train = task.split("train").data
    assert train.environment.names[:3] == ("strength 1", "strength 1 (2)", "strength 1 (3)")
    maps = []
    for environment in range(3):
        inside = train.environment.codes == environment
        pairs = set(zip(train.labels[inside].tolist(), colors(train)[inside].tolist(), strict=True))
        assert len(pairs) == 10
        maps.append(dict(pairs))
    for one, other in combinations(maps, 2):
        assert sorted(one.values()) == list(range(10))
        assert all(one[label] != other[label] for label in range(10))
    test = task.split("test").data
    for own in maps:
        assert all(
            own[label] != color for label, color in zip(test.labels.tolist(), colors(test).tolist(), strict=True)
        )


def test_grey_has_the_same_rows_and_no_color() -> None:
    grey, colored = ColoredDigits(palette="grey").load(), ColoredDigits().load()
    for one, other in zip(grey.splits, colored.splits, strict=True):
        assert one.data.index.equal(other.data.index)
        x = one.data.batch().x
        assert isinstance(x, torch.Tensor)
        assert x[:, 0].equal(x[:, 1])
        assert x[:, 0].equal(x[:, 2])
    assert grey.split("train").data.attributes["color"].names == ("grey",)
    assert grey.shortcut == ""


@pytest.mark.parametrize(
    "options",
    [{}, {"palette": "grey"}, {"palette": "per-environment"}, {"classes": 3, "colors_per_class": 3}],
)
def test_rendering_a_row_from_its_own_factors_gives_it_bit_for_bit(options: dict[str, Any]) -> None:
    task = ColoredDigits(**options).load()
    assert task.render is not None
    for split in task.splits:
        factors = {"label": split.data.labels, "color": colors(split.data)}
        assert task.render(factors, split.data.index).equal(split.data.batch().x)  # type: ignore[arg-type]


def test_several_colors_go_with_each_of_fewer_classes() -> None:
    task = ColoredDigits(classes=2, colors_per_class=4, strengths=(1.0,)).load()
    assert task.classes == ("0 to 4", "5 to 9")
    assert task.associations == {"color": (0, 0, 0, 0, 1, 1, 1, 1)}
    own = torch.tensor(task.associations["color"])
    train, test = task.split("train").data, task.split("test").data
    assert own[colors(train)].equal(train.labels)
    assert own[colors(test)].equal(1 - test.labels)
    counts = torch.bincount(colors(train), minlength=8)
    assert counts.min() > binom.ppf(1e-6, int((train.labels == 0).sum()), 1 / 4)


def test_an_association_is_known_where_one_map_holds_everywhere() -> None:
    assert ColoredDigits().load().associations == {"color": tuple(range(10))}
    assert ColoredDigits(palette="per-environment").load().associations == {"color": ()}
    assert ColoredDigits(palette="grey").load().associations == {"color": ()}


def test_fewer_classes_merge_neighboring_digits() -> None:
    ten, three = ColoredDigits().load(), ColoredDigits(classes=3).load()
    digit = torch.cat([split.data.labels for split in ten.splits])
    digit = digit[torch.cat([split.data.index for split in ten.splits]).argsort()]
    for split in three.splits:
        assert split.data.labels.equal(torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])[digit[split.data.index]])
    assert three.classes == ("0 to 3", "4 to 6", "7 to 9")


def intensities(x: Inputs, color: torch.Tensor) -> list[list[int]]:
    """The grey values 0 … 16 of images painted in these colors."""
    assert isinstance(x, torch.Tensor)
    brightness = torch.tensor(list(COLORS.values())).sum(dim=1)[color]
    return (16 * x.sum(dim=1).flatten(1) / brightness[:, None]).round().int().tolist()


def test_rendering_in_another_color_keeps_the_image() -> None:
    task = ColoredDigits().load()
    assert task.render is not None
    test = task.split("test").data
    zeros = torch.zeros_like(test.labels)
    red = task.render({"label": test.labels, "color": zeros}, test.index)
    assert intensities(red, zeros) == intensities(test.x, colors(test))
    proportions = torch.tensor(COLORS["red"]) / COLORS["red"][0]
    torch.testing.assert_close(red, red[:, :1] * proportions[:, None, None])


def test_rendering_another_digit_shows_one_of_the_same_split() -> None:
    task = ColoredDigits().load()
    assert task.render is not None
    test = task.split("test").data
    seven = task.render({"label": torch.full_like(test.labels, 7), "color": colors(test)}, test.index)
    sevens = test.take((test.labels == 7).nonzero()[:, 0])
    own = intensities(sevens.x, colors(sevens))
    drawn = intensities(seven, colors(test))
    assert all(image in own for image in drawn)
    assert len({tuple(image) for image in drawn}) == len(own)


def test_equal_options_give_equal_data_and_another_seed_other_data() -> None:
    one, same, other = (ColoredDigits(data_seed=seed).load().fingerprint() for seed in (0, 0, 1))
    assert one == same != other


def test_rows_without_labels_are_taken_from_training() -> None:
    task, usual = ColoredDigits(unlabelled=0.3, strengths=(1.0,)).load(), ColoredDigits(strengths=(1.0,)).load()
    sizes = {split.name: len(split.data) / 1797 for split in task.splits}
    assert sizes["unlabelled"] == pytest.approx(0.24, abs=0.01)
    assert sizes["pool"] == pytest.approx(0.06, abs=0.01)
    assert sizes["train"] == pytest.approx(len(usual.split("train").data) / 1797 - 0.3, abs=0.02)
    assert torch.cat([split.data.index for split in task.splits]).sort()[0].equal(torch.arange(1797))
    assert [split.name for split in task.splits if split.shifted] == ["test", "unlabelled", "pool"]
    for name in ("unlabelled", "pool"):
        rows = task.split(name).data
        assert rows.environment.codes.unique().tolist() == [2]
        assert within_bounds(colors(rows) == rows.labels, 0.1)
    assert task.notes == ()


def test_a_note_says_where_rows_without_labels_have_the_colors_of_training() -> None:
    task = ColoredDigits(unlabelled=0.3, strengths=(1.0,), unlabelled_strength=1.0).load()
    assert "cannot tell shape and color apart" in task.notes[0]
    assert not task.split("unlabelled").shifted
    assert colors(task.split("pool").data).equal(task.split("pool").data.labels)


@pytest.mark.parametrize(
    "reference",
    [
        "colored-digits:strengths=[]",
        "colored-digits:unlabelled=0.5",
        "colored-digits:strengths=[1,1,1,1,1,1,1,1,1,1]",
        "colored-digits:strengths=[0.5,1.5]",
        "colored-digits:strengths=0.9",
        "colored-digits:palette=pink",
        "colored-digits:test_strength=-0.1",
        "colored-digits:data_seed=x",
        "colored-digits:classes=1",
        "colored-digits:colors_per_class=2",
        "colored-digits:classes=2:palette=per-environment",
    ],
)
def test_refusals_are_one_line(reference: str) -> None:
    with pytest.raises(UserError) as caught:
        create(Task, reference).load()
    assert "\n" not in str(caught.value)


def test_pictures_draw() -> None:
    grid, matrix = ColoredDigits().load().pictures
    assert grid.to_html().count("<img") == 30
    assert matrix.to_html().count(">red<") == 1


def accuracy_of_erm(task: TaskData, seed: int, *, balanced: bool = False) -> dict[str, float]:
    """400 steps of Adam at 1e-3 on batches of 128, drawn evenly from label × color cells where ``balanced``."""
    train = task.split("train").data
    cell = train.grouped_by("label*color").environment.codes
    weight = 1 / torch.bincount(cell)[cell] if balanced else torch.ones(len(train))
    torch.manual_seed(seed)
    network = task.model.build(task.input_shape, task.outputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(400):
        batch = train.batch(torch.multinomial(weight, 128, replacement=balanced))
        loss = cross_entropy(network(batch.x), batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return {
            split.name: (network(split.data.x).argmax(1) == split.data.labels).double().mean().item()
            for split in task.splits
        }


def test_color_is_a_shortcut_grey_is_not_and_balancing_helps() -> None:
    """The figures of the demonstration, on one seed and with a plain loop."""
    colored = ColoredDigits().load()
    erm = accuracy_of_erm(colored, 0)
    grey = accuracy_of_erm(ColoredDigits(palette="grey").load(), 0)
    balanced = accuracy_of_erm(colored, 0, balanced=True)
    assert erm["selection"] > 0.95
    assert erm["selection"] - erm["test"] > 0.25
    assert grey["selection"] - grey["test"] < 0.03
    assert balanced["test"] - erm["test"] > 0.08
