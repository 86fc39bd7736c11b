"""Minima that a barrier separates are joined by a curve of low loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.reproductions.digit_networks import Pair, step, trained_pair
from holdfast.reproductions.estimates import decided, estimated
from holdfast.weights import Profile, fit_curve, line_profile

MOST, LEAST_RISE = 0.2, 0.05


@register(name="weights/mode-connectivity")
@dataclass(frozen=True, kw_only=True)
class WeightsModeConnectivity(Reproduction):
    """A quadratic Bezier curve with a trained middle joins two networks at low loss where the line does not.

    Networks 64-64-64-10 on the embedded digits, nothing matched. The thresholds, on every pair: the largest training
    loss on the curve is at most a fifth of the line's (the card asks for a quarter), and at most the worse end's plus
    .1. Where the line rises by less than .05 on some pair the claim is not decided.

    Attributes:
        pairs: How many pairs of networks.
        width: Of the two hidden layers.
        steps: Updates of each training and of the curve's.
    """

    claim: ClassVar[str] = (
        "Two independently trained networks, between which the loss is high on the straight line, are joined by a "
        "simple curve on which it is low."
    )
    published: ClassVar[str] = "CIFAR-10, WRN-28-10: test error 3.7 % at the ends, 3.49 to 3.88 % on the Bezier curve"
    source: ClassVar[str] = (
        "Garipov, Izmailov, Podoprikhin, Vetrov, Wilson, Loss surfaces, mode connectivity, and fast ensembling of "
        "DNNs, NeurIPS 2018, arXiv:1802.10026"
    )

    pairs: Annotated[int, Range(2)] = 5
    width: Annotated[int, Range(1)] = 64
    steps: Annotated[int, Range(1)] = 1000

    def reproduce(self) -> Finding:
        """Train the pairs, a curve for each, and compare with the lines."""
        found = [_profiles(trained_pair(seed, self.width, 2, self.steps)) for seed in range(self.pairs)]
        ratios = [curve.highest / line.highest for line, curve in found]
        rises = [curve.highest - max(line.values[0], line.values[-1]) for line, curve in found]
        measured = {
            "highest loss on the line": estimated([line.highest for line, _ in found]),
            "highest loss on the curve": estimated([curve.highest for _, curve in found]),
            "ratio": estimated(ratios),
        }
        if min(line.barrier for line, _ in found) < LEAST_RISE:
            return Finding("inconclusive", measured, f"on a pair the line rises by less than {LEAST_RISE}")
        conditions = {
            f"highest loss on the curve ≤ {MOST} of the line's on every pair": max(ratios) <= MOST,
            "highest loss on the curve ≤ the worse end's + .1 on every pair": max(rises) <= 0.1,
        }
        return decided(conditions, measured)


def _profiles(pair: Pair) -> tuple[Profile, Profile]:
    curve = fit_curve(pair.trainer(), pair.module, pair.ends, pair.view, step())
    return line_profile(*pair.ends, pair.loss, points=61), curve.profile(pair.loss)
