"""The claim ilc/consistency: its thresholds decide in both directions, and its search finds what there is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from holdfast.core.reproduction import Finding
from holdfast.gradients import Mean
from holdfast.reproductions import ilc_consistency
from holdfast.reproductions.ilc_consistency import EPSILON, IlcConsistency
from holdfast.weights import Bound, LossesByEnvironment, WithinEachWeight


def found(
    monkeypatch: pytest.MonkeyPatch,
    masked: float = 4.0,
    factor: float = 2000.0,
    shares: tuple[float, float] = (0.997, 1.0),
) -> Finding:
    """The finding if the last of three seeds gave these figures."""

    def inconsistency(losses: tuple[object, int], bound: Bound) -> float:
        aggregator, seed = losses
        plain = isinstance(aggregator, Mean)
        return 50.0 if plain else masked if seed == 2 and isinstance(bound, WithinEachWeight) else 4.0

    monkeypatch.setattr(IlcConsistency, "_model", lambda self, aggregator, seed: (aggregator, seed))
    monkeypatch.setattr(ilc_consistency, "_inconsistency", inconsistency)
    monkeypatch.setattr(ilc_consistency, "_factor_on_patchwork", lambda: factor)
    monkeypatch.setattr(ilc_consistency, "_shares_on_quadratics", lambda seed: shares if seed == 2 else (0.99, 1.0))
    return IlcConsistency(seeds=3).reproduce()


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, ""),
        ({"masked": 10.0}, ""),
        ({"masked": 10.1}, "times the mask's"),
        ({"masked": np.nan}, "times the mask's"),
        ({"factor": 100.0}, ""),
        ({"factor": 99.0}, "100-fold"),
        ({"shares": (0.98, 1.0)}, ""),
        ({"shares": (0.979, 1.0)}, "closed form"),
        ({"shares": (0.99, 1.001)}, "closed form"),
    ],
    ids=str,
)
def test_thresholds(monkeypatch: pytest.MonkeyPatch, changed: dict[str, float], broken: str) -> None:
    finding = found(monkeypatch, **changed)  # type: ignore[arg-type]
    assert finding.verdict == ("fails" if broken else "holds")
    assert not broken or broken in finding.reason
    assert finding.reason.count(";") == (0 if broken else 2)


def test_two_seeds_hold() -> None:
    finding = IlcConsistency(seeds=2).reproduce()
    assert finding.verdict == "holds", finding.reason
    assert finding.measured["ratio with a bound on the norm"].value < 0.1


def test_the_mean_in_place_of_the_mask_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilc_consistency, "_mask", Mean)
    finding = IlcConsistency(seeds=2, steps=300).reproduce()
    assert finding.verdict == "fails"
    assert "mask" in finding.reason


def exact(losses: LossesByEnvironment) -> float:
    """The inconsistency, in epsilons, of a linear model whose weights may change by their own size.

    The loss of row i depends on s = xᵢᵀθ, so that staying within ε is staying in an interval of s, and the loss of
    another row is the farthest where its s is the least or the largest: linear programs.
    """
    x, start = losses.objective.rows.batch().x.numpy(), losses.start.numpy()  # type: ignore[union-attr]
    sides = [(w - abs(w), w + abs(w)) for w in start]
    farthest = 0.0
    for kept in x:
        s = float(kept @ start)
        loss = (s - 1) ** 2 / 2
        outer, inner = np.sqrt(2 * (loss + EPSILON)), np.sqrt(2 * max(loss - EPSILON, 0.0))
        low = 1 + inner if inner and s > 1 else 1 - outer
        high = 1 - inner if inner and s < 1 else 1 + outer
        for target in x:
            for sign in (1, -1):
                program = linprog(sign * target, A_ub=np.stack([kept, -kept]), b_ub=[high, -low], bounds=sides)
                farthest = max(farthest, abs((float(target @ program.x) - 1) ** 2 / 2 - loss))
    return farthest / EPSILON


def test_the_search_finds_most_of_what_linear_programs_do() -> None:
    claim = IlcConsistency()
    for seed in (0, 2, 5):  # the first two have the smallest ratios
        plain, masked = claim._model(Mean(), seed), claim._model(ilc_consistency._mask(), seed)
        whole = exact(plain), exact(masked)
        searched = [ilc_consistency._inconsistency(model, WithinEachWeight(1.0)) for model in (plain, masked)]
        assert 0.999 <= searched[0] / whole[0] <= 1 + 1e-6
        assert 0.95 <= searched[1] / whole[1] <= 1 + 1e-6
        assert whole[0] >= 5 * whole[1]
