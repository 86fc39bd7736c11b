"""The claims weights/rebasin and weights/mode-connectivity: their thresholds decide in both directions."""

from __future__ import annotations

import pytest

from holdfast.reproductions import weights_mode_connectivity, weights_rebasin
from holdfast.reproductions.digit_networks import trained_pair
from holdfast.reproductions.weights_mode_connectivity import WeightsModeConnectivity
from holdfast.reproductions.weights_rebasin import WeightsRebasin
from holdfast.weights import Profile


@pytest.mark.parametrize(
    ("last", "verdict"),
    [((1.0, 0.2), "holds"), ((1.0, 0.21), "fails"), ((0.04, 0.0), "inconclusive"), ((0.06, 0.001), "holds")],
)
def test_one_pair_decides_on_rebasin(monkeypatch: pytest.MonkeyPatch, last: tuple[float, float], verdict: str) -> None:
    monkeypatch.setattr(weights_rebasin, "trained_pair", lambda seed, *_: seed)
    monkeypatch.setattr(weights_rebasin, "_barriers", lambda seed: last if seed == 2 else (1.0, 0.01))
    assert WeightsRebasin(pairs=3).reproduce().verdict == verdict


@pytest.mark.parametrize(
    ("line", "curve", "verdict"),
    [
        ((0.1, 2.0, 0.2), 0.29, "holds"),
        ((0.1, 2.0, 0.2), 0.31, "fails"),
        ((0.01, 1.0, 0.02), 0.11, "holds"),
        ((0.01, 0.5, 0.02), 0.11, "fails"),
        ((0.2, 0.22, 0.2), 0.2, "inconclusive"),
    ],
)
def test_one_pair_decides_on_mode_connectivity(
    monkeypatch: pytest.MonkeyPatch, line: tuple[float, ...], curve: float, verdict: str
) -> None:
    at = (0.0, 0.5, 1.0)

    def profiles(seed: int) -> tuple[Profile, Profile]:
        if seed == 2:
            return Profile(at, line), Profile(at, (line[0], curve, line[2]))
        return Profile(at, (0.1, 3.0, 0.1)), Profile(at, (0.1, 0.1, 0.1))

    monkeypatch.setattr(weights_mode_connectivity, "trained_pair", lambda seed, *_: seed)
    monkeypatch.setattr(weights_mode_connectivity, "_profiles", profiles)
    assert WeightsModeConnectivity(pairs=3).reproduce().verdict == verdict


def test_two_pairs_of_each_hold() -> None:
    for claim in (WeightsRebasin(pairs=2), WeightsModeConnectivity(pairs=2)):
        finding = claim.reproduce()
        assert finding.verdict == "holds", finding.reason


def test_networks_that_are_hardly_trained_decide_nothing() -> None:
    assert WeightsRebasin(pairs=2, steps=2).reproduce().verdict == "inconclusive"
    assert WeightsModeConnectivity(pairs=2, steps=2).reproduce().verdict == "inconclusive"


def test_pairs_share_no_network() -> None:
    one, other = trained_pair(0, 8, 1, 3), trained_pair(1, 8, 1, 3)
    weights = [float(end.parameters["head.bias"][0]) for pair in (one, other) for end in pair.ends]
    assert len(set(weights)) == 4
