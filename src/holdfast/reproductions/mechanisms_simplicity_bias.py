"""A network uses the linear coordinate alone, though slabs tell the class as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast.core.data import Dataset
from holdfast.core.ledger import Ledger
from holdfast.core.options import Range
from holdfast.core.predictors import forward
from holdfast.core.registry import register
from holdfast.core.reproduction import Estimate, Finding, Reproduction
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Needs, TaskData, training_view
from holdfast.perturbations import block_exchanged
from holdfast.reproductions.estimates import decided, estimated
from holdfast.tasks.slabs import Slabs
from holdfast.training import SGD, Budget, GradientStep, Trainer

DIMENSIONS = (10, 50)
MEASURED = (
    "AUC",
    "AUC, linear exchanged",
    "AUC, slabs exchanged",
    "accuracy",
    "accuracy, shifted along the linear direction",
    "accuracy, shifted along a slab direction",
)
SHIFT = 1.0
Scores = NDArray[np.float64]


@register(name="mechanisms/simplicity-bias")
@dataclass(frozen=True, kw_only=True)
class MechanismsSimplicityBias(Reproduction):
    """With one linear and many 5-slab coordinates, each enough alone, the network stands and falls with the linear one.

    LMS-5 in 10 and 50 dimensions, 20,000 rows, two hidden layers of 100, SGD with learning rate .1 for 12 passes. AUC
    of the difference of the logits on 5,000 new rows: as they are, with the linear coordinate exchanged between rows,
    and with all slab coordinates exchanged together. The thresholds are the card's, and hold on every seed: at least
    .99, at most .55, at least .99. Measured beside them: the accuracy when every row is moved by 1 toward the other
    class along the linear direction, one vector and its negative for all rows, and as far along a slab direction.

    Attributes:
        seeds: Data, rotations and initial weights.
        rows: Training rows.
        passes: Over the training rows, in batches of 256.
    """

    claim: ClassVar[str] = (
        "Networks trained with SGD on one linear and many equally predictive multi-slab coordinates use the linear one "
        "alone and are invariant to all others."
    )
    published: ClassVar[str] = (
        "AUC 1.000; .507 with the linear coordinate randomized; 1.000 with the slabs (LMS-5, d = 50)"
    )
    source: ClassVar[str] = (
        "Shah, Tamuly, Raghunathan, Jain, Netrapalli, The pitfalls of simplicity bias in neural networks, NeurIPS "
        "2020, arXiv:2006.07710"
    )
    uses: ClassVar[tuple[tuple[str, str], ...]] = (("task", "slabs"),)

    seeds: Annotated[int, Range(2)] = 5
    rows: Annotated[int, Range(100)] = 20_000
    passes: Annotated[int, Range(1)] = 12

    def reproduce(self) -> Finding:
        """Train on every seed in both dimensions, and exchange the blocks."""
        scores = {d: np.array([self._scores(d, seed) for seed in range(self.seeds)]) for d in DIMENSIONS}
        conditions = {text: met for d in DIMENSIONS for text, met in _conditions(d, scores[d]).items()}
        return decided(conditions, _measured(scores))

    def _scores(self, dimensions: int, seed: int) -> Scores:
        """The values of :data:`MEASURED`."""
        task = Slabs(dimensions=dimensions, rows=self.rows, data_seed=seed)
        data = task.load()
        network = self._trained(data, seed)
        test, basis = data.split("test-same").data, task.rotation().float()
        x = test.batch().x
        assert isinstance(x, Tensor)
        donors = torch.randperm(len(test), generator=torch_rng(seed, self.name, "donors"))
        outward = SHIFT * (1 - 2 * test.labels)[:, None]
        return np.array(
            [
                _auc(network, test, x),
                _auc(network, test, block_exchanged(x, donors, basis[:1])),
                _auc(network, test, block_exchanged(x, donors, basis[1:])),
                _accuracy(network, test, x),
                _accuracy(network, test, x + outward * basis[0]),
                _accuracy(network, test, x + outward * basis[1]),
            ]
        )

    def _trained(self, data: TaskData, seed: int) -> nn.Module:
        steps = self.passes * self.rows // data.batch_size
        trainer = Trainer(seed=seed, budget=Budget(max(steps, 1)), batch_size=data.batch_size)
        view = training_view(data, Needs(), Ledger())
        with trainer.randomness("init"):
            network = view.model.build(view.input_shape, view.outputs)
        return trainer.fit(network, view, GradientStep(optimizer=SGD(lr=0.1, weight_decay=5e-5))).model


def _difference(network: nn.Module, test: Dataset, x: Tensor) -> Tensor:
    """(N,) the logit of class 1 less that of class 0, of inputs in place of the rows' own."""
    outputs = forward(network, dataclasses.replace(test, x=x))
    return outputs[:, 1] - outputs[:, 0]


def _auc(network: nn.Module, test: Dataset, x: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(test.labels.numpy(), _difference(network, test, x).numpy()))


def _accuracy(network: nn.Module, test: Dataset, x: Tensor) -> float:
    return float(((_difference(network, test, x) > 0) == (test.labels == 1)).double().mean())


def _conditions(dimensions: int, scores: Scores) -> dict[str, bool]:
    where = f"on every seed, d = {dimensions}"
    return {
        f"AUC ≥ .99 {where}": bool((scores[:, 0] >= 0.99).all()),
        f"AUC with the linear coordinate exchanged ≤ .55 {where}": bool((scores[:, 1] <= 0.55).all()),
        f"AUC with the slabs exchanged ≥ .99 {where}": bool((scores[:, 2] >= 0.99).all()),
    }


def _measured(scores: Mapping[int, Scores]) -> dict[str, Estimate]:
    return {
        f"d = {d}: {what}": estimated(values[:, k]) for d, values in scores.items() for k, what in enumerate(MEASURED)
    }
