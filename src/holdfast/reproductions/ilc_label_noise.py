"""Wrong labels among right ones are not remembered where every example is an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.reproductions.estimates import decided, estimated
from holdfast.reproductions.remembered import SOURCE, USES, all_trained
from holdfast.tasks.data_folder import has_data_set

THRESHOLD, NOISE = 0.2, 0.25


@register(name="ilc/label-noise")
@dataclass(frozen=True, kw_only=True)
class IlcLabelNoise(Reproduction):
    """With a quarter of the labels drawn at random, a mask over single examples leaves the wrong ones unlearnt.

    The experiment of ``ilc/random-labels``, with noise of .25. What counts is the accuracy, under the wrong labels, on
    the training rows that have one. The thresholds are given: at least .6 without the mask on every seed, at most .15
    with it. That the mask's test accuracy is higher is not asked for: the paper needed another learning rate for it.

    Attributes:
        seeds: How many data sets and initial weights.
        epochs: Of each training.
    """

    claim: ClassVar[str] = (
        "Under label noise, with every example an environment, the AND-mask leaves the wrong labels unlearnt, below "
        "chance, where plain training remembers them."
    )
    published: ClassVar[str] = "CIFAR-10, 25 % noise: accuracy under wrong labels below chance (mask), rising (Adam)"
    source: ClassVar[str] = SOURCE
    uses: ClassVar[tuple[tuple[str, str], ...]] = USES

    seeds: Annotated[int, Range(2)] = 5
    epochs: Annotated[int, Range(1)] = 40

    def reproduce(self) -> Finding:
        """Train with and without the mask on noisy labels."""
        if not has_data_set("mnist"):
            return Finding("inconclusive", {}, "needs MNIST: name the folder of data sets in HOLDFAST_DATA")
        plain, masked = (all_trained(NOISE, threshold, self.seeds, self.epochs) for threshold in (0.0, THRESHOLD))
        measured = {
            "wrong labels, plain": estimated(plain["changed"]),
            "wrong labels, mask": estimated(masked["changed"]),
            "test, plain": estimated(plain["test"]),
            "test, mask": estimated(masked["test"]),
        }
        conditions = {
            "wrong labels: plain ≥ .6 on every seed": bool((plain["changed"] >= 0.6).all()),
            "wrong labels: mask ≤ .15 on every seed": bool((masked["changed"] <= 0.15).all()),
        }
        return decided(conditions, measured)
