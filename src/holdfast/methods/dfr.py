"""Deep feature reweighting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.method import Method
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.taps import last_linear
from holdfast.core.task import Needs, TrainingView
from holdfast.heads.balanced import BalancedRefit, HeadRows, moments
from holdfast.heads.last_layer import inputs_of, install, targets_of
from holdfast.methods._groups import needs_of
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
        rows_per_group: The groups of so few rows are looked at, drawn at random from each; of all where it is None.
    """

    groups: str = "environment"
    strengths: Annotated[tuple[float, ...], Range(low=1e-10)] = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
    refits: Annotated[int, Range(low=1)] = 20
    min_group_rows: Annotated[int, Range(low=1)] = 10
    rows_per_group: Annotated[int | None, Range(low=2)] = None

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
        data = _known(view.grouped_by(self.groups).role("holdout")).to("cpu", trainer.dtype)
        if self.rows_per_group is not None:
            data = data.take(_few(data.environment.codes, self.rows_per_group, trainer.rng("rows of groups")))
        features = inputs_of(layer, network, data)
        mean, scale = moments(features, centred=layer.bias is not None)
        rows = HeadRows(
            x=(features - mean) / scale,
            y=targets_of(layer, network, data, view.kind == "regression"),
            groups=data.environment.codes.numpy(),
            weight=np.ones(len(data)) if data.weight is None else (data.weight / data.weight.mean()).double().numpy(),
            outputs=view.outputs,
            intercept=layer.bias is not None,
        )
        trainer.ledger.forwards += len(data)
        refit = BalancedRefit(self.strengths, self.refits, self.min_group_rows)
        install(refit(rows, trainer.numpy_rng("dfr")).after(mean, scale), layer)
        return network


def _known(data: Dataset) -> Dataset:
    """The rows of known group and positive weight."""
    known = data.environment.codes >= 0
    if data.weight is not None:
        known &= data.weight > 0
    if int(known.sum()) < 2:
        raise UserError("dfr needs at least two holdout rows of known group")
    return data.take(torch.nonzero(known).squeeze(1))


def _few(codes: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """Positions of at most so many random rows of each group, in the order of the rows."""
    order = torch.randperm(len(codes), generator=rng)
    first = torch.cat([order[codes[order] == code][:most] for code in torch.unique(codes)])
    return first.sort().values
