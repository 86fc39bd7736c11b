"""What the AND-mask lets through at initialisation: the gradient's likeness to the mechanism's and the shortcuts'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.data import Dataset
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.core.seeds import torch_rng
from holdfast.gradients import GradientEngine, Stat
from holdfast.losses import cross_entropy
from holdfast.models.mlp import MLP
from holdfast.reproductions.estimates import estimated
from holdfast.statistics import mean_t
from holdfast.tasks.spirals_shortcuts import SpiralsShortcuts, permuted

THRESHOLDS = (0.0, 0.25, 0.5, 0.75, 0.875)
LEAST_RISE = 0.2


@register(name="ilc/gradient-correlation")
@dataclass(frozen=True, kw_only=True)
class IlcGradientCorrelation(Reproduction):
    """The stricter the AND-mask, the more the gradient it keeps is that of the mechanism.

    The paper's synthetic data (32 shortcut inputs of standard deviation .316), 16 environments of 1,024 rows in one
    batch, fresh networks. Two further gradients, of rows whose shortcut or whose mechanism was exchanged at random, say
    what the mechanism and the shortcuts ask for; from each gradient that of rows with both exchanged is subtracted,
    which asks for nothing but a smaller output and is common to all. The correlations are over the components where
    signs agree to the threshold. The card asks that the mechanism's rise by .2 from a threshold of 0 to one of .9, and
    that the shortcuts' fall; of 16 environments all but one agree at .875. The fall must exclude zero.

    Attributes:
        seeds: How many data sets and initial weights.
        rows: Of each environment.
    """

    claim: ClassVar[str] = (
        "At initialisation, the more agreement of signs is asked for, the more the remaining gradient correlates with "
        "that of the shared mechanism, and the less with that of the shortcuts."
    )
    published: ClassVar[str] = "with the mechanism from about .4 without a mask towards 1 (a figure)"
    source: ClassVar[str] = (
        "Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, Learning explanations that are hard to vary, ICLR 2021, "
        "arXiv:2009.00329, figure 7"
    )
    uses: ClassVar[tuple[tuple[str, str], ...]] = (("task", "spirals-shortcuts"), ("model", "mlp"))

    seeds: Annotated[int, Range(2)] = 20
    rows: Annotated[int, Range(16)] = 1024

    def reproduce(self) -> Finding:
        """Measure both correlations at every threshold on fresh networks."""
        found = np.array([self._correlations(seed) for seed in range(self.seeds)])
        return judged(found)

    def _correlations(self, seed: int) -> list[tuple[float, float]]:
        """For each threshold: with the gradient of the mechanism, with that of the shortcuts."""
        task = SpiralsShortcuts(data_seed=seed, d_shortcut=32, shortcut_std=0.316, rows_per_environment=self.rows)
        rows, rng = task.load().split("train").data, torch_rng(seed, "gradient correlation")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = MLP(hidden=(256, 256, 256), activation="leaky-relu").build(rows.input_shape, 1)
        mechanism, shortcut = permuted(rows, "shortcut", rng), permuted(rows, "mechanism", rng)
        neither, _ = _gradient(network, permuted(mechanism, "mechanism", rng))
        whole, agreement = _gradient(network, rows)
        parts = [_gradient(network, part)[0] - neither for part in (mechanism, shortcut)]
        return [_likeness(whole - neither, parts, agreement >= threshold) for threshold in THRESHOLDS]


def judged(found: np.ndarray) -> Finding:
    """The finding of (seeds, thresholds, 2) correlations."""
    measured = {
        f"{name}, threshold {threshold:g}": estimated(found[:, k, part])
        for part, name in enumerate(("mechanism", "shortcuts"))
        for k, threshold in enumerate(THRESHOLDS)
    }
    rise, fall = found[:, -1, 0] - found[:, 0, 0], found[:, 0, 1] - found[:, -1, 1]
    intervals = [(mean_t(rise), LEAST_RISE), (mean_t(fall), 0.0)]
    reason = f"the mechanism's rises by {rise.mean():.2f}, the shortcuts' falls by {fall.mean():.3f}"
    if all(interval.low is not None and interval.low > least for interval, least in intervals):
        return Finding("holds", measured, reason)
    refuted = any(interval.high is not None and interval.high < least for interval, least in intervals)
    return Finding("fails" if refuted else "inconclusive", measured, reason)


def _gradient(network: nn.Module, rows: Dataset) -> tuple[Tensor, Tensor]:
    """(P,) mean gradient of the environments, and (P,) how far their signs agree."""
    batch = rows.batch()
    with GradientEngine(network) as engine:
        losses = cross_entropy(network(batch.x), batch.labels)
        statistics = engine.statistics(losses, batch.environment, needs=frozenset({Stat.SIGN})).values()
    signs = torch.cat([s.sign.flatten() for s in statistics if s.sign is not None])
    return torch.cat([s.sum.flatten() for s in statistics]), signs.abs() / len(rows.environment.present())


def _likeness(whole: Tensor, parts: list[Tensor], kept: Tensor) -> tuple[float, float]:
    one, other = (float(torch.corrcoef(torch.stack([whole[kept], part[kept]]))[0, 1]) for part in parts)
    return one, other
