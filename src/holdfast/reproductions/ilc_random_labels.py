"""Random labels are remembered by plain training, and not where every example is an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.reproductions.estimates import decided, estimated
from holdfast.reproductions.remembered import SOURCE, USES, all_trained
from holdfast.tasks.data_folder import has_data_set

THRESHOLD = 0.2


@register(name="ilc/random-labels")
@dataclass(frozen=True, kw_only=True)
class IlcRandomLabels(Reproduction):
    """A mask over single examples keeps a network from learning random labels, and lets it learn true ones.

    The card's miniature: 2,000 MNIST images, 784-256-10, batches of 80 environments of one example, Adam; the mask
    at .2 against 0, which is plain training. 60 epochs: at the card's 40 plain training has not yet fitted all random
    labels, about .95 of them. The thresholds, given: training accuracy on random labels at
    least .95 without the mask on every seed, at most .35 with it. The card's: test accuracy with true labels within .04
    of that without the mask, on the mean over seeds.

    Attributes:
        seeds: How many data sets and initial weights.
        epochs: Of each training.
    """

    claim: ClassVar[str] = (
        "Where every example is an environment, the AND-mask does not fit random labels, which plain training "
        "remembers, and still learns from true labels."
    )
    published: ClassVar[str] = "CIFAR-10, random labels: about 100 % of them fitted by plain training, far fewer masked"
    source: ClassVar[str] = SOURCE
    uses: ClassVar[tuple[tuple[str, str], ...]] = USES

    seeds: Annotated[int, Range(2)] = 5
    epochs: Annotated[int, Range(1)] = 60

    def reproduce(self) -> Finding:
        """Train with and without the mask, on random and on true labels."""
        if not has_data_set("mnist"):
            return Finding("inconclusive", {}, "needs MNIST: name the folder of data sets in HOLDFAST_DATA")
        plain, masked, plain_true, masked_true = (
            all_trained(fraction, threshold, self.seeds, self.epochs)
            for fraction in (1.0, 0.0)
            for threshold in (0.0, THRESHOLD)
        )
        measured = {
            "random labels, plain: train": estimated(plain["train"]),
            "random labels, mask: train": estimated(masked["train"]),
            "true labels, plain: test": estimated(plain_true["test"]),
            "true labels, mask: test": estimated(masked_true["test"]),
        }
        conditions = {
            "random labels: plain ≥ .95 on every seed": bool((plain["train"] >= 0.95).all()),
            "random labels: mask ≤ .35 on every seed": bool((masked["train"] <= 0.35).all()),
            "true labels: the mask's test accuracy within .04 of plain": bool(
                plain_true["test"].mean() - masked_true["test"].mean() <= 0.04
            ),
        }
        return decided(conditions, measured)
