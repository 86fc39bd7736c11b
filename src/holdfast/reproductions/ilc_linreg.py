"""Linear regression with one shared and four private features: averaging takes the patchwork."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.gradients import Aggregator, AndMask, Mean
from holdfast.losses import half_squared_error
from holdfast.reproductions.estimates import decided, estimated
from holdfast.reproductions.linreg_networks import trained


@register(name="ilc/linreg")
@dataclass(frozen=True, kw_only=True)
class IlcLinreg(Reproduction):
    """Averaged gradients fit each training row by its private feature; the AND-mask finds the shared one.

    Trained on two of four environments. The thresholds are the card's: a loss of at least .4 on the environments left
    out under the mean gradient against at most .02 under the mask, whose last weight lies in [2.6, 3.4].

    Attributes:
        seeds: How many initial weights.
        steps: Updates of each training.
    """

    claim: ClassVar[str] = (
        "On four one-row environments with one shared feature the mean gradient fits the rows by their private "
        "features and fails on environments left out; the AND-mask finds the shared feature."
    )
    published: ClassVar[str] = "last weight ≈ .065 and left-out loss ≈ .48 (mean); ≈ 3.0 and .005 (AND-mask)"
    source: ClassVar[str] = (
        "Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, Learning explanations that are hard to vary, ICLR 2021, "
        "arXiv:2009.00329, notebook linear_regression_ilc"
    )
    uses: ClassVar[tuple[tuple[str, str], ...]] = (("task", "linreg-patchwork"),)

    seeds: Annotated[int, Range(2)] = 10
    steps: Annotated[int, Range(1)] = 1000

    def reproduce(self) -> Finding:
        """Train with both aggregators on every seed and compare with the card's thresholds."""
        plain = np.array([self._train(Mean(), seed) for seed in range(self.seeds)])
        masked = np.array([self._train(AndMask(threshold=1.0, rescale="none"), seed) for seed in range(self.seeds)])
        measured = {
            "mean gradient: left-out loss": estimated(plain[:, 0]),
            "mean gradient: last weight": estimated(plain[:, 1]),
            "AND-mask: left-out loss": estimated(masked[:, 0]),
            "AND-mask: last weight": estimated(masked[:, 1]),
            "AND-mask: largest other weight": estimated(masked[:, 2]),
        }
        conditions = {
            "left-out loss of the mean ≥ .4 on every seed": bool((plain[:, 0] >= 0.4).all()),
            "left-out loss of the mask ≤ .02 on every seed": bool((masked[:, 0] <= 0.02).all()),
            "last weight of the mask in [2.6, 3.4] on every seed": bool(
                ((masked[:, 1] >= 2.6) & (masked[:, 1] <= 3.4)).all()
            ),
        }
        return decided(conditions, measured)

    def _train(self, aggregator: Aggregator, seed: int) -> tuple[float, float, float]:
        """Left-out loss, last weight and largest other weight after training on two environments."""
        model, task = trained(aggregator, seed, self.steps, environments=2)
        left_out = task.with_role("test")[0].data
        with torch.no_grad():
            loss = half_squared_error(model(left_out.batch().x), left_out.labels).mean()
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        return float(loss), float(weights[-1]), float(weights[:-1].abs().max())
