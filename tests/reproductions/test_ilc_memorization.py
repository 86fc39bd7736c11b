"""Claims on memorisation: their thresholds decide in both directions, in miniature."""

from __future__ import annotations

import os

import numpy as np
import pytest

from holdfast.core.reproduction import Finding
from holdfast.reproductions import ilc_label_noise, ilc_random_labels
from holdfast.reproductions.ilc_gradient_correlation import THRESHOLDS, IlcGradientCorrelation, judged
from holdfast.reproductions.ilc_label_noise import IlcLabelNoise
from holdfast.reproductions.ilc_random_labels import IlcRandomLabels
from holdfast.reproductions.ilc_spirals import IlcSpirals
from holdfast.reproductions.remembered import trained

needs_data = pytest.mark.skipif(not os.environ.get("HOLDFAST_DATA"), reason="HOLDFAST_DATA names no data sets")


def test_spirals_that_are_not_trained_refute_the_claim() -> None:
    finding = IlcSpirals(seeds=2, steps=2).reproduce()
    assert finding.verdict == "fails"
    assert "mean accuracy of the mask ≥ .85" in finding.reason
    assert "mean gradient ≤ .58" not in finding.reason
    assert finding.measured["AND-mask"].value == pytest.approx(0.5, abs=0.08)


def correlations(rise: float, fall: float, jitter: float = 0.02) -> np.ndarray:
    """(10, thresholds, 2) of ten seeds: linear in the place of the threshold."""
    part = np.linspace(0, 1, len(THRESHOLDS))
    noise = jitter * np.random.default_rng(0).normal(size=(10, len(THRESHOLDS), 2))
    return np.stack([0.3 + rise * part, 0.95 - fall * part], axis=1) + noise


@pytest.mark.parametrize(
    ("rise", "fall", "verdict"),
    [
        (0.4, 0.1, "holds"),
        (0.1, 0.1, "fails"),
        (0.4, -0.1, "fails"),
        (0.2, 0.1, "inconclusive"),
        (0.4, 0.0, "inconclusive"),
    ],
)
def test_intervals_of_the_changes_decide(rise: float, fall: float, verdict: str) -> None:
    assert judged(correlations(rise, fall)).verdict == verdict


def test_gradients_are_measured() -> None:
    finding = IlcGradientCorrelation(seeds=2, rows=64).reproduce()
    assert set(finding.measured) == {
        f"{what}, threshold {t:g}" for what in ("mechanism", "shortcuts") for t in THRESHOLDS
    }
    assert finding.measured["shortcuts, threshold 0"].value > finding.measured["mechanism, threshold 0"].value


def found(monkeypatch: pytest.MonkeyPatch, claim: type, **values: float) -> Finding:
    """The finding of a claim where plain and masked networks have these accuracies, with and without noise."""

    def made(fraction: float, threshold: float, seeds: int, epochs: int) -> dict[str, np.ndarray]:
        name = ("plain" if threshold == 0 else "mask") + ("_true" if fraction == 0 else "")
        spread = np.linspace(-0.01, 0.01, seeds)
        return dict.fromkeys(("train", "changed", "test"), values[name] + spread)

    for module in (ilc_random_labels, ilc_label_noise):
        monkeypatch.setattr(module, "all_trained", made)
        monkeypatch.setattr(module, "has_data_set", lambda name: True)
    return claim(seeds=3).reproduce()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("plain", "mask", "true", "verdict"),
    [(0.97, 0.2, 0.9, "holds"), (0.955, 0.2, 0.9, "fails"), (0.97, 0.345, 0.9, "fails"), (0.97, 0.2, 0.85, "fails")],
)
def test_random_labels(monkeypatch: pytest.MonkeyPatch, plain: float, mask: float, true: float, verdict: str) -> None:
    finding = found(monkeypatch, IlcRandomLabels, plain=plain, mask=mask, plain_true=0.9, mask_true=true)
    assert finding.verdict == verdict


@pytest.mark.parametrize(
    ("plain", "mask", "verdict"), [(0.7, 0.1, "holds"), (0.605, 0.1, "fails"), (0.7, 0.145, "fails")]
)
def test_label_noise(monkeypatch: pytest.MonkeyPatch, plain: float, mask: float, verdict: str) -> None:
    assert found(monkeypatch, IlcLabelNoise, plain=plain, mask=mask).verdict == verdict


@pytest.mark.parametrize("claim", [IlcRandomLabels, IlcLabelNoise])
def test_without_data_nothing_is_decided(monkeypatch: pytest.MonkeyPatch, claim: type) -> None:
    monkeypatch.delenv("HOLDFAST_DATA", raising=False)
    assert claim().reproduce().verdict == "inconclusive"


@needs_data
def test_the_mask_remembers_less_after_a_few_epochs() -> None:
    plain, masked = (trained(1.0, threshold, seed=0, epochs=15) for threshold in (0.0, 0.2))
    assert plain.train > masked.train + 0.15
    assert plain.changed > masked.changed
