"""Deep feature reweighting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import nn

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.method import Method
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.taps import last_linear
from holdfast.core.task import Needs, TrainingView
from holdfast.methods._groups import needs_of
from holdfast.methods._heads import Array, Codes, Head, fit_classes, fit_numbers
from holdfast.methods._last_layer import inputs_of, install, line_after
from holdfast.training import Trainer


@register
@dataclass(frozen=True, kw_only=True)
class DFR(Method):
    """Deep feature reweighting: fit the last layer of a trained network anew on group-balanced holdout rows.

    Kirichenko, Izmailov, Wilson, *Last layer re-training is sufficient for robustness to spurious correlations*,
    ICLR 2023, arXiv:2204.02937.

    Groups are subsampled to the smallest, but not below ``min_group_rows``: a smaller group enters whole, its rows
    weighted up to the same sum. The penalty is chosen by the worst group of one half of the rows after a fit to the
    other (ties: by the mean over groups, then the stronger penalty). The new layer is the mean of several fits to
    fresh subsamples of all rows. Features are scaled once, by their moments over all rows. Where labels are numbers,
    the fits are ridge regressions and the worst group is the one with the largest squared error.

    Attributes:
        groups: Columns whose combinations are the groups, joined by ``*``, such as ``label*color``; ``label`` and
            ``environment`` are columns too. Rows of unknown group are left out.
        strengths: Candidates for C, the factor of the loss against the penalty.
        refits: How many fits are averaged.
        min_group_rows: See above.
    """

    groups: str = "environment"
    strengths: Annotated[tuple[float, ...], Range(low=1e-10)] = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
    refits: Annotated[int, Range(low=1)] = 20
    min_group_rows: Annotated[int, Range(low=1)] = 10

    def __post_init__(self) -> None:
        if not self.strengths:
            raise ValueError("strengths=[] leaves no penalty to choose: name one at least")

    def needs(self) -> Needs:
        return needs_of(self.groups, roles=("holdout",), base=True)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        if model is None:
            raise UserError("dfr repairs a model that another method has trained: write erm+dfr")
        network = self.build(view, base=model).to(trainer.device, trainer.dtype)
        layer = last_linear(network)
        data = _known(view.role("holdout").grouped_by(self.groups)).to("cpu", trainer.dtype)
        features = inputs_of(layer, network, data)
        mean, scale = _moments(features, centred=layer.bias is not None)
        rows = _Rows(
            x=(features - mean) / scale,
            y=_targets_of(layer, network, data, view.kind == "regression"),
            groups=data.environment.codes.numpy(),
            weight=np.ones(len(data)) if data.weight is None else (data.weight / data.weight.mean()).double().numpy(),
            outputs=view.outputs,
            intercept=layer.bias is not None,
        )
        trainer.ledger.forwards += len(data)
        install(self._refit(rows, trainer.numpy_rng("dfr")).after(mean, scale), layer)
        return network

    def _refit(self, rows: _Rows, rng: np.random.Generator) -> Head:
        """The mean of fits to balanced subsamples, under the penalty that serves the worst group best."""
        strength = self._choose(rows, rng)
        everything = np.arange(len(rows.groups))
        return Head.mean(
            [rows.fit(*self._balanced(rows.groups, everything, rng), strength) for _ in range(self.refits)]
        )

    def _choose(self, rows: _Rows, rng: np.random.Generator) -> float:
        shuffled = rng.permutation(len(rows.groups))
        by_group = shuffled[np.argsort(rows.groups[shuffled], kind="stable")]
        sample, weight = self._balanced(rows.groups, by_group[::2], rng)
        merits = {C: rows.merit(rows.fit(sample, weight, C), by_group[1::2]) for C in sorted(self.strengths)}
        return max(merits, key=lambda C: merits[C])

    def _balanced(self, groups: Codes, among: Codes, rng: np.random.Generator) -> tuple[Codes, Array]:
        """Positions and weights of a subsample in which every group of ``among`` weighs the same."""
        parts = [rng.permutation(among[groups[among] == group]) for group in np.unique(groups[among])]
        size = max(self.min_group_rows, min(map(len, parts)))
        weights = [np.full(min(len(part), size), size / min(len(part), size)) for part in parts]
        return np.concatenate([part[:size] for part in parts]), np.concatenate(weights)


@dataclass(frozen=True)
class _Rows:
    """N rows as a head sees them.

    Attributes:
        x: (N, F) scaled features.
        y: (N,) classes, or targets in the units of the head's output.
        groups: (N,) codes.
        weight: (N,) row weights of mean 1.
        outputs: K.
        intercept: Whether the head has one.
    """

    x: Array
    y: np.ndarray
    groups: Codes
    weight: Array
    outputs: int
    intercept: bool

    def fit(self, rows: Codes, factor: Array, C: float) -> Head:
        """A head for some rows, their weights multiplied by ``factor``."""
        x, y, weight = self.x[rows], self.y[rows], self.weight[rows] * factor
        if self.y.dtype.kind == "f":
            return fit_numbers(x, y, weight, C=C, intercept=self.intercept)
        return fit_classes(x, y, weight, classes=self.outputs, C=C, intercept=self.intercept)

    def merit(self, head: Head, rows: Codes) -> tuple[float, float]:
        """Score of the worst group among some rows, and the mean over groups."""
        outputs, y = head(self.x[rows]), self.y[rows]
        scores = -((outputs[:, 0] - y) ** 2) if y.dtype.kind == "f" else outputs.argmax(axis=1) == y
        by_group = [scores[self.groups[rows] == group].mean() for group in np.unique(self.groups[rows])]
        return min(by_group), float(np.mean(by_group))


def _known(data: Dataset) -> Dataset:
    """The rows of known group and positive weight."""
    known = data.environment.codes >= 0
    if data.weight is not None:
        known &= data.weight > 0
    if int(known.sum()) < 2:
        raise UserError("dfr needs at least two holdout rows of known group")
    return data.take(torch.nonzero(known).squeeze(1))


def _moments(x: Array, *, centred: bool) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature: 0 where the head could not undo a shift, 1 for constants."""
    scale = x.std(axis=0)
    return x.mean(axis=0) * centred, np.where(scale > 1e-8 * np.abs(x).max(axis=0), scale, 1.0)


def _targets_of(layer: nn.Linear, network: nn.Module, data: Dataset, numbers: bool) -> np.ndarray:
    """(N,) what the head should put out: labels, with the fixed line after the head undone where they are numbers."""
    shift, slope = line_after(layer, network, data.take(torch.arange(1)))
    if not numbers and (shift, slope) != (0, 1):
        raise UserError("the network's last linear layer does not give its outputs: dfr cannot refit it")
    y = (data.labels.double() - shift) / slope if numbers else data.labels
    return np.asarray(y.numpy())
