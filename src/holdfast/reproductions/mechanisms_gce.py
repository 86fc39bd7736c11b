"""Generalized cross-entropy makes a network rely on the easiest mechanism more, not less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.methods.erm import ERM
from holdfast.methods.gce import GCE
from holdfast.reproductions.biased_digits import NEEDS_MNIST, OPTIMIZER, USES, Accuracies, trained
from holdfast.reproductions.estimates import decided, estimated
from holdfast.tasks.data_folder import has_data_set

STRENGTH = 0.95
BELOW, WITHIN = 0.1, 0.02


@register(name="mechanisms/gce")
@dataclass(frozen=True, kw_only=True)
class MechanismsGce(Reproduction):
    """On digits of which 95 % have the color of their class, generalized cross-entropy isolates color.

    12,000 MNIST digits, a perceptron of three hidden layers of 100, Adam with learning rate .001, batches of 256, q =
    .7. Thresholds are the card's, and hold on every seed: on digits of another class's color the accuracy is at least
    .1 below that of cross-entropy, on digits of their own class's within .02 of it.

    Attributes:
        seeds: Data and initial weights.
        steps: Updates of each training.
    """

    claim: ClassVar[str] = (
        "Generalized cross-entropy amplifies the bias of a network toward the attribute that is easiest to learn."
    )
    published: ClassVar[str] = "a network that relies on color, which learning from failure starts from; no figure"
    source: ClassVar[str] = (
        "Zhang, Sabuncu, Generalized cross entropy loss for training deep neural networks with noisy labels, NeurIPS "
        "2018, arXiv:1805.07836; as an amplifier of bias: Nam, Cha, Ahn, Lee, Shin, Learning from failure, NeurIPS "
        "2020, arXiv:2007.02561"
    )
    uses: ClassVar[tuple[tuple[str, str], ...]] = (*USES, ("method", "gce"))

    seeds: Annotated[int, Range(2)] = 5
    steps: Annotated[int, Range(1)] = 1500

    def reproduce(self) -> Finding:
        """Train with both losses on every seed."""
        if not has_data_set("mnist"):
            return Finding("inconclusive", {}, NEEDS_MNIST)
        plain = [trained(ERM(optimizer=OPTIMIZER), STRENGTH, seed, self.steps) for seed in range(self.seeds)]
        generalized = [trained(GCE(optimizer=OPTIMIZER), STRENGTH, seed, self.steps) for seed in range(self.seeds)]
        return judged(plain, generalized)


def judged(plain: list[Accuracies], generalized: list[Accuracies]) -> Finding:
    """The verdict on networks trained with cross-entropy and with its generalization, one of each for each seed."""
    pairs = list(zip(plain, generalized, strict=True))
    loss = np.array([p.conflicting - g.conflicting for p, g in pairs])
    apart = np.array([abs(p.aligned - g.aligned) for p, g in pairs])
    measured = {
        "conflicting, cross-entropy": estimated([p.conflicting for p in plain]),
        "conflicting, generalized": estimated([g.conflicting for g in generalized]),
        "aligned, cross-entropy": estimated([p.aligned for p in plain]),
        "aligned, generalized": estimated([g.aligned for g in generalized]),
        "follows color, cross-entropy": estimated([p.follows_color for p in plain]),
        "follows color, generalized": estimated([g.follows_color for g in generalized]),
    }
    conditions = {
        f"conflicting: at least {BELOW} below cross-entropy on every seed": bool((loss >= BELOW).all()),
        f"aligned: within {WITHIN} on every seed": bool((apart <= WITHIN).all()),
    }
    return decided(conditions, measured)
