"""The claim about DivDis: its thresholds decide in both directions, and what it measures is what its names say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.reproductions.mechanisms_divdis import MechanismsDivdis, followed, judged
from holdfast.tasks.colored_digits import COLORS, ColoredDigits


def both(first: tuple[float, float], second: tuple[float, float]) -> np.ndarray:
    """(3, 2, 2): three seeds that differ little."""
    return np.array([first, second]) + np.linspace(0, 0.01, 3)[:, None, None]


NOT_APART = both((0.4, 0.2), (0.3, 0.2))


@pytest.mark.parametrize(
    ("color", "digit", "pair", "verdict"),
    [
        (0.95, 0.85, 0.95, "holds"),
        (0.895, 0.85, 0.95, "fails"),
        (0.95, 0.77, 0.95, "fails"),
        (0.95, 0.85, 0.895, "fails"),
    ],
)
def test_every_threshold_decides(color: float, digit: float, pair: float, verdict: str) -> None:
    heads = both((color, 1 - color), (1 - digit, digit))
    finding = judged(heads, NOT_APART, both((0.98, 0.02), (pair, 1 - pair)))
    assert finding.verdict == verdict
    assert "do not come apart" in finding.reason
    assert finding.measured["other head follows digit"].value == pytest.approx(digit + 0.005)


def test_heads_of_ten_classes_that_come_apart_are_told() -> None:
    heads = both((0.95, 0.05), (0.1, 0.9))
    assert "heads come apart" in judged(heads, heads, both((0.98, 0.02), (0.98, 0.02))).reason


class Redness(nn.Module):
    """Reads the color: class 0 is red, which has little green in it, class 1 yellow."""

    def forward(self, x: Tensor) -> Tensor:
        share = x[:, 1].sum((1, 2)) / x[:, 0].sum((1, 2))
        middle = (COLORS["red"][1] / COLORS["red"][0] + COLORS["yellow"][1] / COLORS["yellow"][0]) / 2
        return torch.stack([middle - share, share - middle], dim=1)


def test_a_reader_of_color_follows_color_on_every_row() -> None:
    task = ColoredDigits(classes=2, strengths=(1.0,), unlabelled=0.3).load()
    assert followed(Redness(), task) == (1.0, 0.0)


def test_one_seed_comes_apart_and_untrained_heads_refute() -> None:
    heads = MechanismsDivdis()._heads(0, classes=2)
    assert heads[0][0] > 0.9
    assert heads[1][1] > 0.75
    assert MechanismsDivdis(seeds=2, steps=1).reproduce().verdict == "fails"
