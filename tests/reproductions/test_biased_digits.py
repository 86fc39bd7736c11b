"""The claims on colored digits: each threshold decides, in both directions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.reproduction import Reproduction
from holdfast.core.task import Split, TaskData
from holdfast.heads.two_streams import TwoStreams
from holdfast.models.mlp import MLP
from holdfast.reproductions import mechanisms_dfa, mechanisms_eiil, mechanisms_gce, mechanisms_jtt, mechanisms_lff
from holdfast.reproductions.biased_digits import Accuracies, accuracies
from holdfast.reproductions.mechanisms_dfa import MechanismsDfa
from holdfast.reproductions.mechanisms_eiil import MechanismsEiil
from holdfast.reproductions.mechanisms_gce import MechanismsGce
from holdfast.reproductions.mechanisms_jtt import MechanismsJtt
from holdfast.reproductions.mechanisms_lff import MechanismsLff, Outcome

CLAIMS = [MechanismsDfa(), MechanismsEiil(), MechanismsGce(), MechanismsJtt(), MechanismsLff()]


class Reads(nn.Module):
    """Names the class that stands in a column of its input."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(x[:, self.column].long(), 10).float()


def task() -> TaskData:
    """Each pair of class and color once; inputs are (class, color, class but 9 for class 3 with color 4)."""
    label, color = torch.arange(100) // 10, torch.arange(100) % 10
    nearly = torch.where((label == 3) & (color == 4), 9, label)
    x = torch.stack([label, color, nearly], dim=1).float()
    rows = Dataset(x, label, Column.constant(100), {"color": Column(color, tuple("abcdefghij"))})
    return TaskData("classification", (Split("test", "test", rows),), MLP(), classes=tuple("0123456789"))


def shuffled_task() -> TaskData:
    """The same rows in random order."""
    whole = task()
    rows = whole.split("test").data.take(torch.randperm(100, generator=torch.Generator().manual_seed(0)))
    return dataclasses.replace(whole, splits=(Split("test", "test", rows),))


def test_accuracies_of_networks_that_read_one_factor() -> None:
    assert accuracies(Reads(0), task()) == Accuracies(1.0, 1.0, 1.0, 1.0, 0.0)
    assert accuracies(Reads(1), task()) == Accuracies(0.0, 1.0, 0.1, 0.0, 1.0)
    found = accuracies(Reads(2), task())
    assert found.conflicting == pytest.approx(89 / 90)
    assert found.unbiased == pytest.approx(99 / 100)
    assert (found.aligned, found.worst_cell, found.follows_color) == (1.0, 0.0, 0.0)


def test_pairs_count_the_same_however_many_rows_they_have() -> None:
    whole = task()
    rows = whole.split("test").data.take(torch.cat([torch.arange(100), torch.full((50,), 34)]))
    often = dataclasses.replace(whole, splits=(Split("test", "test", rows),))
    assert accuracies(Reads(2), often).unbiased == pytest.approx(99 / 100)


@pytest.mark.parametrize(
    ("conflicting", "aligned", "verdict"),
    [(0.59, 0.98, "holds"), (0.61, 0.98, "fails"), (0.5, 0.97, "fails"), (0.8, 0.99, "fails")],
)
def test_gce(conflicting: float, aligned: float, verdict: str) -> None:
    plain, good = Accuracies(0.7, 0.995, 0.73, 0.1, 0.2), Accuracies(0.4, 0.99, 0.46, 0.0, 0.5)
    last = dataclasses.replace(good, conflicting=conflicting, aligned=aligned)
    assert mechanisms_gce.judged([plain] * 3, [good, good, last]).verdict == verdict


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "holds"),
        ({"main": (0.64, 0.99)}, "fails"),
        ({"biased": (0.51, 1.0)}, "fails"),
        ({"auc": 0.87}, "fails"),
        ({"main": (0.7, 0.92)}, "fails"),
        ({"main": (0.66, 0.94), "biased": (0.49, 0.5), "auc": 0.88}, "holds"),
    ],
    ids=str,
)
def test_lff(changed: dict[str, tuple[float, float] | float], verdict: str) -> None:
    good = Outcome(plain=(0.6, 0.99), main=(0.7, 0.95), biased=(0.3, 1.0), auc=0.92)
    last = dataclasses.replace(good, **changed)  # type: ignore[arg-type]
    assert mechanisms_lff.judged([good, good, last]).verdict == verdict


@pytest.mark.parametrize(
    ("found", "gain", "verdict"),
    [
        ((0.6, 3.0), (0.2, 0.3, 0.25), "holds"),
        ((0.59, 9.0), (0.2, 0.3, 0.25), "fails"),
        ((0.9, 2.9), (0.2, 0.3, 0.25), "fails"),
        ((0.9, 9.0), (0.05, 0.09, 0.1), "fails"),
        ((0.9, 9.0), (0.0, 0.9, 0.0), "fails"),
    ],
    ids=str,
)
def test_jtt(found: tuple[float, float], gain: tuple[float, ...], verdict: str) -> None:
    plain = np.full((3, 3), 0.1)
    twice = plain + np.array(gain)[:, None]
    errors = np.array([(0.9, 9.0), (0.9, 9.0), found])
    assert mechanisms_jtt.judged(errors, np.stack([plain, twice])).verdict == verdict


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        ((0.95, 0.61, 0.2), "holds"),
        ((0.94, 0.61, 0.2), "fails"),
        ((1.0, 0.5, 0.2), "inconclusive"),
    ],
    ids=str,
)
def test_eiil(last: tuple[float, float, float], verdict: str) -> None:
    good = (1.0, 0.6, 0.3)
    assert mechanisms_eiil.judged(np.array([good, good, last])).verdict == verdict


def test_eiil_surely_below_the_threshold_fails() -> None:
    outcomes = np.array([(1.0, 0.4, 0.3), (1.0, 0.41, 0.3), (1.0, 0.42, 0.3)])
    assert mechanisms_eiil.judged(outcomes).verdict == "fails"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "holds"),
        ({"dfa": (0.79, 0.9), "lff": (0.8, 0.9)}, "holds"),
        ({"dfa": (0.77, 0.9), "lff": (0.8, 0.9)}, "fails"),
        ({"plain": (0.76, 0.9)}, "fails"),
        ({"plain": (0.74, 0.9)}, "holds"),
        ({"read": (0.5, 0.94)}, "fails"),
        ({"read": (0.96, 0.96)}, "fails"),
    ],
    ids=str,
)
def test_dfa(changed: dict[str, tuple[float, float]], verdict: str) -> None:
    good = mechanisms_dfa.Outcome(plain=(0.5, 0.99), lff=(0.7, 0.95), dfa=(0.8, 0.95), read=(0.6, 0.97))
    last = dataclasses.replace(good, **changed)
    outcomes = [dataclasses.replace(last, dfa=(last.dfa[0] + off, 0.9)) for off in (-0.001, 0.0, 0.001)]
    assert mechanisms_dfa.judged(outcomes).verdict == verdict


def test_dfa_with_an_interval_that_holds_a_threshold_is_inconclusive() -> None:
    good = mechanisms_dfa.Outcome(plain=(0.5, 0.99), lff=(0.7, 0.95), dfa=(0.8, 0.95), read=(0.6, 0.97))
    worse = dataclasses.replace(good, dfa=(0.51, 0.9))
    assert mechanisms_dfa.judged([good, good, worse]).verdict == "inconclusive"


@pytest.mark.parametrize("where", ["main", "biased"])
def test_a_probe_reads_the_color_off_the_features_that_have_it(where: str) -> None:
    class Features(TwoStreams):
        def features(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            color = nn.functional.one_hot(x[:, 1].long(), 10).float()
            noise = torch.randn(len(x), 60, generator=torch.Generator().manual_seed(1))  # wide enough to fit by heart
            return (color, noise) if where == "main" else (noise, color)

    main, biased = mechanisms_dfa.colors_read(Features(nn.Linear(3, 2), nn.Linear(3, 2)), shuffled_task())
    has, lacks = (main, biased) if where == "main" else (biased, main)
    assert has == 1.0
    assert lacks < 0.3


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_without_mnist_nothing_is_concluded(monkeypatch: pytest.MonkeyPatch, claim: Reproduction) -> None:
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    finding = claim.reproduce()
    assert finding.verdict == "inconclusive"
    assert "HOLDFAST_DATA" in finding.reason
