"""The claims mechanisms/simplicity-bias and mechanisms/wcst: their thresholds decide in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast.core.reproduction import Finding
from holdfast.core.task import Model
from holdfast.models.cnn import CNN
from holdfast.perturbations import block_exchanged
from holdfast.reproductions import mechanisms_simplicity_bias
from holdfast.reproductions.mechanisms_simplicity_bias import MechanismsSimplicityBias
from holdfast.reproductions.mechanisms_wcst import MechanismsWcst

PUBLISHED = (1.0, 0.507, 1.0, 1.0, 0.05, 1.0)


def biased(monkeypatch: pytest.MonkeyPatch, changed: dict[int, float]) -> Finding:
    """The finding if the last of three seeds in 50 dimensions gave these figures, and all else the published ones."""

    def scores(self: MechanismsSimplicityBias, dimensions: int, seed: int) -> Any:
        found = np.array(PUBLISHED)
        if (dimensions, seed) == (50, 2):
            found[list(changed)] = list(changed.values())
        return found

    monkeypatch.setattr(MechanismsSimplicityBias, "_scores", scores)
    return MechanismsSimplicityBias(seeds=3).reproduce()


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "holds"),
        ({0: 0.99}, "holds"),
        ({0: 0.989}, "fails"),
        ({1: 0.55}, "holds"),
        ({1: 0.551}, "fails"),
        ({2: 0.99}, "holds"),
        ({2: 0.989}, "fails"),
        ({2: float("nan")}, "fails"),
        ({4: 0.9, 5: 0.1}, "holds"),
    ],
    ids=str,
)
def test_one_seed_beyond_a_threshold_refutes_simplicity_bias(
    monkeypatch: pytest.MonkeyPatch, changed: dict[int, float], verdict: str
) -> None:
    finding = biased(monkeypatch, changed)
    assert finding.verdict == verdict
    assert ("d = 10" in finding.reason) is (verdict == "holds")


def test_a_small_experiment_shows_the_bias_and_is_the_same_every_time() -> None:
    small = MechanismsSimplicityBias(seeds=2, rows=4000, passes=6)
    finding = small.reproduce()
    assert finding.verdict == "holds", finding.reason
    assert finding.measured["d = 10: accuracy, shifted along the linear direction"].value < 0.2
    assert finding.measured["d = 10: accuracy, shifted along a slab direction"].value > 0.95
    assert small.reproduce() == finding


def test_the_bias_is_refuted_where_the_blocks_are_confused(monkeypatch: pytest.MonkeyPatch) -> None:
    def confused(x: Tensor, donors: Tensor, basis: Tensor) -> Tensor:
        others = torch.linalg.qr(basis.T, mode="complete")[0].T[len(basis) :]
        return block_exchanged(x, donors, others)

    monkeypatch.setattr(mechanisms_simplicity_bias, "block_exchanged", confused)
    assert MechanismsSimplicityBias(seeds=2, rows=4000, passes=6).reproduce().verdict == "fails"


def followed(
    monkeypatch: pytest.MonkeyPatch, mlp: list[tuple[float, float]], cnn: list[tuple[float, float]]
) -> Finding:
    """The finding if the answers followed digit and color in these shares."""

    def shares(self: MechanismsWcst, model: Model, cues: tuple[str, ...], seed: int) -> Any:
        digit, color = (cnn if isinstance(model, CNN) else mlp)[seed]
        return np.array([digit, color, 1 - digit - color][: 1 + len(cues)])

    monkeypatch.setattr(MechanismsWcst, "_shares", shares)
    return MechanismsWcst(seeds=5).reproduce()


GOOD, DIGIT, PLACE = (0.0, 0.8), (0.31, 0.69), (0.0, 0.79)


@pytest.mark.parametrize(
    ("mlp", "cnn", "verdict"),
    [
        ([GOOD] * 5, [GOOD] * 5, "holds"),
        ([GOOD] * 4 + [PLACE], [GOOD] * 4 + [DIGIT], "holds"),
        ([GOOD] * 3 + [PLACE] * 2, [GOOD] * 5, "fails"),
        ([GOOD] * 5, [GOOD] * 3 + [DIGIT] * 2, "fails"),
        ([(0.31, 0.8)] * 5, [GOOD] * 5, "fails"),
        ([(float("nan"), 0.8)] * 5, [GOOD] * 5, "fails"),
    ],
    ids=str,
)
def test_both_networks_must_follow_the_color(
    monkeypatch: pytest.MonkeyPatch, mlp: list[tuple[float, float]], cnn: list[tuple[float, float]], verdict: str
) -> None:
    finding = followed(monkeypatch, mlp, cnn)
    assert finding.verdict == verdict
    assert finding.reason.startswith("mlp: ")
    assert "mlp, places at random: share that follows the position" not in finding.measured


def test_a_short_experiment_separates_the_networks() -> None:
    finding = MechanismsWcst(seeds=2, steps=60).reproduce()
    measured = {name: estimate.value for name, estimate in finding.measured.items()}
    assert measured["mlp: share that follows the position"] > 0.8
    assert measured["cnn: share that follows the color"] > 0.8
    assert measured["mlp, places at random: share that follows the color"] > 0.8
    assert max(value for name, value in measured.items() if name.endswith("the digit")) < 0.1
