"""Independently trained networks lie in one basin once their hidden units are matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.reproductions.digit_networks import Pair, trained_pair
from holdfast.reproductions.estimates import estimated
from holdfast.weights import PermutationSpec, aligned, line_profile, match_weights

MOST = 0.2
LEAST_BARRIER = 0.05


@register(name="weights/rebasin")
@dataclass(frozen=True, kw_only=True)
class WeightsRebasin(Reproduction):
    """Matching hidden units by their weights takes away most of the barrier on the line between two networks.

    Networks 64-256-256-10 on the embedded digits. The threshold: on every pair the barrier of the training loss after
    matching is at most a fifth of the one before; the card asks for a quarter at width 256. Where the barrier before
    is below .05 on some pair there is nothing to take away, and the claim is not decided.

    Attributes:
        pairs: How many pairs of networks.
        width: Of the two hidden layers.
        steps: Updates of each training.
    """

    claim: ClassVar[str] = (
        "The barrier on the line between two independently trained networks nearly vanishes once the hidden units of "
        "one are permuted to match the other's."
    )
    published: ClassVar[str] = "near zero barrier for MLPs on MNIST"
    source: ClassVar[str] = (
        "Ainsworth, Hayase, Srinivasa, Git Re-Basin: merging models modulo permutation symmetries, ICLR 2023, "
        "arXiv:2209.04836"
    )

    pairs: Annotated[int, Range(2)] = 5
    width: Annotated[int, Range(1)] = 256
    steps: Annotated[int, Range(1)] = 600

    def reproduce(self) -> Finding:
        """Train the pairs, match each, and compare the barriers."""
        found = [_barriers(trained_pair(seed, self.width, 2, self.steps)) for seed in range(self.pairs)]
        before, after = ([pair[k] for pair in found] for k in (0, 1))
        ratios = [two / one if one > 0 else float("nan") for one, two in found]
        measured = {
            "loss barrier as trained": estimated(before),
            "loss barrier after matching": estimated(after),
            "ratio": estimated(ratios),
        }
        if min(before) < LEAST_BARRIER:
            return Finding("inconclusive", measured, f"a pair has a barrier below {LEAST_BARRIER} before matching")
        met = max(ratios) <= MOST
        text = f"barrier after matching ≤ {MOST} of the one before on every pair"
        return Finding("holds" if met else "fails", measured, text)


def _barriers(pair: Pair) -> tuple[float, float]:
    start, end = pair.ends
    spec = PermutationSpec.of(pair.module)
    matching = match_weights(spec, start, end, torch.Generator().manual_seed(pair.seed))
    lines = [line_profile(start, other, pair.loss) for other in (end, aligned(spec, matching, end))]
    return lines[0].barrier, lines[1].barrier
