"""The claim about two shortcuts: gaps by hand, and thresholds that decide in every direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.task import Split, TaskData
from holdfast.models.mlp import MLP
from holdfast.reproductions.mechanisms_whac_a_mole import METHODS, MechanismsWhacAMole, judged
from holdfast.reproductions.shortcut_gaps import shortcut_gaps


class Reads(nn.Module):
    """Names the class that one column of the input holds."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column

    def forward(self, x: Tensor) -> Tensor:
        return torch.eye(2)[x[:, self.column].long()]


def task() -> TaskData:
    """All combinations of label, color and texture, three times where the texture is wrong: cells of unequal size."""
    rows = torch.cartesian_prod(*[torch.arange(2)] * 3)
    rows = torch.cat([rows, rows[rows[:, 2] != rows[:, 0]], rows[rows[:, 2] != rows[:, 0]]])
    columns = {name: Column(rows[:, i], ("a", "b")) for i, name in ((1, "color"), (2, "texture"))}
    data = Dataset(rows.float(), rows[:, 0].clone(), Column.constant(len(rows)), columns)
    return TaskData("classification", (Split("test", "test", data),), MLP(), classes=("a", "b"))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (0, {"in distribution": 1.0, "color": 0.0, "texture": 0.0, "all": 0.0}),
        (1, {"in distribution": 0.9, "color": -0.9, "texture": 0.1, "all": -0.9}),
        (2, {"in distribution": 0.9, "color": 0.1, "texture": -0.9, "all": -0.9}),
    ],
)
def test_gaps_of_readers_of_one_feature(column: int, expected: dict[str, float]) -> None:
    assert shortcut_gaps(Reads(column), task(), ("color", "texture"), 0.9) == pytest.approx(expected)


def gaps(**changes: tuple[float, float, float]) -> dict[str, dict[str, np.ndarray]]:
    """Three seeds that differ little: gaps of color, texture and all of each method."""
    usual = {
        "erm": (-0.2, -0.3, -0.8),
        "color drawn anew": (0.0, -0.7, -0.7),
        "ensemble": (-0.05, -0.05, -0.08),
        "ensemble with both": (-0.5, -0.5, -0.5),
    }
    found = usual | {name.replace("_", " "): values for name, values in changes.items()}
    spread = np.linspace(-0.002, 0.002, 3)
    return {
        method: {
            "in distribution": 0.95 + spread,
            **{name: value + spread for name, value in zip(("color", "texture", "all"), values, strict=True)},
        }
        for method, values in found.items()
    }


def test_it_holds_where_everything_is_as_published() -> None:
    assert judged(gaps()).verdict == "holds"
    assert set(gaps()) == set(METHODS)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"erm": (0.1, 0.1, -0.25), "color_drawn_anew": (0.2, 0.0, 0.0)}, "erm: gap of both ≤ -.3"),
        ({"erm": (-0.2, -0.6, -0.8)}, "erm: gap of both ≤ each single gap - .3"),
        ({"erm": (0.1, -0.3, -0.8)}, "color drawn anew: gap of color less than erm's"),
        ({"color_drawn_anew": (0.0, -0.2, -0.7)}, "color drawn anew: gap of texture not less than erm's"),
        ({"ensemble": (-0.12, -0.05, -0.05)}, "ensemble: gap of color > -.1"),
        ({"ensemble": (-0.05, -0.12, -0.05)}, "ensemble: gap of texture > -.1"),
        ({"ensemble": (-0.05, -0.05, -0.12)}, "ensemble: gap of all > -.1"),
    ],
)
def test_each_condition_refutes_it_alone(changes: dict[str, tuple[float, float, float]], told: str) -> None:
    finding = judged(gaps(**changes))
    assert finding.verdict == "fails"
    assert finding.reason == f"not so: {told}; 6 of 7 conditions hold"


def test_a_mean_that_is_not_told_from_its_threshold_decides_nothing() -> None:
    finding = judged(gaps(ensemble=(-0.1, -0.05, -0.05)))
    assert finding.verdict == "inconclusive"
    assert "gap of color" in finding.reason


def test_leaving_the_other_gap_as_it_is_is_enough() -> None:
    assert judged(gaps(color_drawn_anew=(0.0, -0.3, -0.7))).verdict == "holds"


def test_untrained_networks_have_no_gap_to_close() -> None:
    finding = MechanismsWhacAMole(seeds=2, steps=1).reproduce()
    assert finding.verdict != "holds"
    assert finding.measured["ensemble with both: in distribution"].n == 2
