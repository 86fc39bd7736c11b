"""A head fitted to rows in which every group weighs the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.heads.linear import Array, Codes, Head, fit_classes, fit_numbers


@dataclass(frozen=True)
class HeadRows:
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


@dataclass(frozen=True)
class BalancedRefit:
    """The fits of deep feature reweighting: see :class:`holdfast.methods.dfr.DFR`, whose options these are.

    Attributes:
        strengths: Candidates for C, the factor of the loss against the penalty.
        refits: How many fits to fresh subsamples are averaged.
        min_group_rows: A smaller group enters whole, its rows weighted up to the same sum.
    """

    strengths: tuple[float, ...]
    refits: int
    min_group_rows: int

    def __call__(self, rows: HeadRows, rng: np.random.Generator) -> Head:
        """The mean of fits to balanced subsamples, under the penalty that serves the worst group best."""
        strength = self._choose(rows, rng)
        everything = np.arange(len(rows.groups))
        return Head.mean([rows.fit(*self.balanced(rows.groups, everything, rng), strength) for _ in range(self.refits)])

    def _choose(self, rows: HeadRows, rng: np.random.Generator) -> float:
        shuffled = rng.permutation(len(rows.groups))
        by_group = shuffled[np.argsort(rows.groups[shuffled], kind="stable")]
        sample, weight = self.balanced(rows.groups, by_group[::2], rng)
        merits = {C: rows.merit(rows.fit(sample, weight, C), by_group[1::2]) for C in sorted(self.strengths)}
        return max(merits, key=lambda C: merits[C])

    def balanced(self, groups: Codes, among: Codes, rng: np.random.Generator) -> tuple[Codes, Array]:
        """Positions and weights of a subsample in which every group of ``among`` weighs the same."""
        parts = [rng.permutation(among[groups[among] == group]) for group in np.unique(groups[among])]
        size = max(self.min_group_rows, min(map(len, parts)))
        weights = [np.full(min(len(part), size), size / min(len(part), size)) for part in parts]
        return np.concatenate([part[:size] for part in parts]), np.concatenate(weights)


def moments(x: Array, *, centred: bool) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature: 0 where the head could not undo a shift, 1 for constants."""
    scale = x.std(axis=0)
    return x.mean(axis=0) * centred, np.where(scale > 1e-8 * np.abs(x).max(axis=0), scale, 1.0)
