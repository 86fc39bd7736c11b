"""What a model draws from each part of its rows, by environment: the measurement behind :mod:`reliance`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.evaluation import Predictor
from holdfast.core.task import Kind
from holdfast.perturbations import Swap
from holdfast.statistics.means import mean_over_units
from holdfast.statistics.resampling import unit_index

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Contribution:
    """What a part contributes in one environment.

    Attributes:
        environment: Its name.
        n: Rows.
        value: Mean fall of the probability of the true class, or mean rise of the squared error over the label's
            variance, when rows exchange the part.
        error: Standard error of the value over rows or units.
        reach: Half the width of the interval over the standard error.
        use: Mean distance between predictions before and after the exchange.
    """

    environment: str
    n: int
    value: float
    error: float
    reach: float
    use: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.reach * self.error

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.reach * self.error

    def vanishes(self, best: Contribution, fraction: float) -> bool:
        """Whether this is surely less per use than a fraction of the best one, and the part is used here as there."""
        if self is best or self.use < best.use / 2:
            return False
        scale = fraction * self.use / best.use
        return self.value - scale * best.value + self.reach * math.hypot(self.error, scale * best.error) < 0


@dataclass(frozen=True, eq=False)
class Exchanges:
    """A model on rows that exchange parts within their environments.

    Attributes:
        predictor: The model.
        kind: Of the task.
        rows: N rows with labels.
        start: The same as they are exchanged.
        rounds: How often each part is exchanged.
        level: Of each interval.
    """

    predictor: Predictor
    kind: Kind
    rows: Dataset
    start: Dataset | pd.DataFrame
    rounds: int
    level: float

    def contributions(
        self, swap: Swap, rng: np.random.Generator, before: Sequence[Swap] = ()
    ) -> tuple[Contribution, ...]:
        """What a part contributes in each environment, once rows have exchanged the parts ``before``."""
        fall, moved = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        for _ in range(self.rounds):
            rows: Any = self.start
            for other in before:
                rows = other.apply(rows, self._donors(rng))
            own = self._said(rows) if before else self._own
            exchanged = self._said(swap.apply(rows, self._donors(rng)))
            fall += (self._merits(own) - self._merits(exchanged)) / self.rounds
            moved += self._distance(own, exchanged) / self.rounds
        return tuple(self._by_environment(fall, moved))

    @functools.cached_property
    def _own(self) -> Array:
        """What is said of the rows as they are."""
        return self._said(self.start)

    def _said(self, rows: Dataset | pd.DataFrame) -> Array:
        """(N, C) probabilities or (N,) means."""
        prediction = self.predictor.predict(rows)
        outputs = prediction.outputs.double()
        return np.asarray((outputs.squeeze(1) if prediction.logits is None else outputs.softmax(dim=1)).numpy())

    def _merits(self, said: Array) -> Array:
        """(N,) probability of the true class, or minus the squared error over the label's variance."""
        y = self.rows.labels.numpy()
        if self.kind == "classification":
            return np.asarray(np.take_along_axis(said, y[:, None], axis=1)[:, 0])
        return np.asarray(-(((said - y) / self._spread) ** 2))

    def _distance(self, said: Array, other: Array) -> Array:
        """(N,) total variation, or the difference over the label's standard deviation."""
        if self.kind == "classification":
            return np.asarray(np.abs(said - other).sum(axis=1) / 2)
        return np.asarray(np.abs(said - other) / self._spread)

    @property
    def _spread(self) -> float:
        return float(self.rows.labels.double().std(correction=0)) or 1.0

    def _donors(self, rng: np.random.Generator) -> Tensor:
        """(N,) a random row of the same environment for each row, each once."""
        codes = self.rows.environment.codes.numpy()
        donors = np.arange(len(codes))
        for code in self.rows.environment.present():
            here = np.flatnonzero(codes == code)
            donors[here] = rng.permutation(here)
        return torch.from_numpy(donors)

    def _by_environment(self, fall: Array, moved: Array) -> Iterator[Contribution]:
        from scipy.stats import t

        rows = self.rows
        codes = rows.environment.codes.numpy()
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight.double().numpy()
        unit = unit_index(len(rows), None if rows.unit is None else rows.unit.numpy())
        for code in rows.environment.present():
            here = (codes == code) & (weight > 0)
            if here.any():
                value, error, units = mean_over_units(fall[here], weight[here], unit[here])
                reach = float(t.ppf((1 + self.level) / 2, max(units - 1, 1)))
                use = float(np.average(moved[here], weights=weight[here]))
                yield Contribution(rows.environment.names[code], int(here.sum()), value, error, reach, use)
