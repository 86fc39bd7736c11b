"""Kinds of rows that a model fails on, where no column says so: clusters of what the model sees."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.artifacts import Artifact, ImageGrid, Table, nested
from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.taps import last_linear
from holdfast.core.task import Kind, TaskData
from holdfast.evaluations.described import Described, Excess, described_rows
from holdfast.evaluations.scored import Level
from holdfast.heads.last_layer import inputs_of
from holdfast.statistics import holm

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
COMPONENTS = 10
LARGEST_VECTOR = 20_000
SHOWN = 8


@register
@dataclass(frozen=True, kw_only=True)
class Clusters(Evaluation):
    """Clusters of rows of one label in which the model is wrong more often than on the label's other rows.

    Rows are clustered by what goes into the network's last layer, or by their inputs where there is no network: for
    each label (for a regression: over all) k-means on the leading principal components, learnt on a random half of
    the rows, units whole. The loss is not looked at, so that the other half tests fairly whether a cluster's rows fail
    more often: one-sided, with Holm's correction over all clusters. A cluster is described by the columns that set it
    apart; a picture has summaries such as its brightness and color for columns.

    Clustering within labels to find hidden groups is N. Sohoni et al., *No subclass left behind: fine-grained
    robustness in coarse-grained classification problems*, NeurIPS 2020, arXiv:2011.12945.

    Attributes:
        number: Clusters of each label.
        least_rows: Clusters with fewer rows to test on are left out.
        max_rows: So many rows are used at most.
        level: One minus the chance that any of those named is no worse than the rest.
    """

    number: Annotated[int, Range(2, 100)] = 4
    least_rows: Annotated[int, Range(low=5)] = 20
    max_rows: Annotated[int, Range(low=100)] = 6_000
    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        rows = described_rows(predictor, task, self.max_rows, rng)
        seen = None if rows is None else _seen(predictor, rows.data)
        if rows is None or seen is None:
            return Result()
        search, test = rows.halves(rng)
        strata = rows.label.astype(str) if task.kind == "classification" else np.full(len(rows.label), "all rows")
        found = [
            cluster
            for label in np.unique(strata)
            for cluster in self._clusters(str(label), seen, rows, (strata == label, search, test), rng)
        ]
        adjusted = holm([cluster.excess.p for cluster in found]) if found else np.zeros(0)
        kept = [c for c, p in zip(found, adjusted, strict=True) if p < 1 - self.level]
        kept.sort(key=lambda c: -c.excess.value)
        return Result(
            tuple(cluster.measurement() for cluster in kept),
            (_table(kept, len(found), task.kind, self.level), *_pictures(kept, rows.data)),
            tuple(Finding("", cluster.sentence(task.kind)) for cluster in kept[:2]),
        )

    def _clusters(
        self, label: str, seen: Array, rows: Described, parts: tuple[Any, Any, Any], rng: np.random.Generator
    ) -> list[_Cluster]:
        """The clusters of a label, with what the test half says of them."""
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        inside, search, test = parts
        own, others = search[inside[search]], test[inside[test]]
        if len(own) < self.number * self.least_rows or len(others) < 2 * self.least_rows:
            return []
        seed = int(rng.integers(2**31))
        reduce = PCA(min(COMPONENTS, seen.shape[1], len(own) - 1), random_state=seed)
        model = make_pipeline(StandardScaler(), reduce, KMeans(self.number, n_init=3, random_state=seed))
        model.fit(seen[own])
        place = model.predict(seen[others])
        members = [(others[place == k], others[place != k]) for k in range(self.number)]
        least = self.least_rows
        return [
            _Cluster(label, _marks(rows.columns, own, rest), own, rows.excess(own, rest))
            for own, rest in members
            if min(len(own), len(rest)) >= least
        ]


@dataclass(frozen=True, eq=False)
class _Cluster:
    """Rows of one label, what sets them apart from its others, and how much more is lost on them."""

    label: str
    marks: str
    members: NDArray[Any]
    excess: Excess

    def measurement(self) -> Measurement:
        return Measurement(
            metric="excess loss of a cluster",
            value=self.excess.value,
            split="test",
            n=self.excess.n,
            group=f"{self.label}: {self.marks}",
            higher_is_better=False,
            note=f"p {self.excess.p:.1g}, before correction",
        )

    def sentence(self, kind: Kind) -> str:
        inside, outside = self.excess.inside, self.excess.outside
        if kind == "classification":
            right = f"{100 * (1 - inside):.0f} % right, against {100 * (1 - outside):.0f} % of its others"
            return f"A cluster of rows of {self.label!r} stands out ({self.marks}): {right}."
        return (
            f"A cluster of rows stands out ({self.marks}): a squared error of {inside:.2g} times the label's "
            f"variance, {outside:.2g} elsewhere."
        )


def _seen(predictor: Predictor, data: Dataset) -> Array | None:
    """(N, F) what goes into the last layer, or the inputs; None where neither is a vector of moderate length."""
    if predictor.module is not None:
        with contextlib.suppress(UserError):
            return inputs_of(last_linear(predictor.module), predictor.module, data)
    x = data.batch().x
    if not isinstance(x, Tensor) or x[0].numel() > LARGEST_VECTOR:
        return None
    return np.asarray(x.flatten(1).double().cpu().numpy())


def _marks(columns: pd.DataFrame, members: NDArray[Any], others: NDArray[Any]) -> str:
    """What sets rows apart: the three columns or levels whose means differ most, in standard deviations."""
    import pandas as pd

    marks: list[tuple[float, str]] = []
    for name in columns.columns:
        column = columns[name]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            marks.append(_difference(column.to_numpy(dtype=float, na_value=np.nan), members, others, f"{name}"))
        else:
            for level in column.astype(str).value_counts().index[:10]:
                is_level = (column.astype(str) == level).to_numpy(dtype=float)
                marks.append(_difference(is_level, members, others, f"{name} {level}"))
    best = sorted(marks, key=lambda mark: -abs(mark[0]))[:3]
    return ", ".join(f"{'more' if size > 0 else 'less'} {name}" for size, name in best if size) or "no column differs"


def _difference(values: Array, members: NDArray[Any], others: NDArray[Any], name: str) -> tuple[float, str]:
    known = values[np.concatenate([members, others])]
    spread = float(np.nanstd(known)) if np.isfinite(known).any() else 0.0
    parts = values[members], values[others]
    if not spread or not all(np.isfinite(part).any() for part in parts):
        return 0.0, name
    return float((np.nanmean(parts[0]) - np.nanmean(parts[1])) / spread), name


def _table(kept: Sequence[_Cluster], tests: int, kind: Kind, level: float) -> Table:
    wrong = "error" if kind == "classification" else "squared error"
    return Table(
        "clusters that the model fails on",
        ("label", "what sets it apart", "rows", f"{wrong} there", f"{wrong} of its others", "p"),
        tuple((c.label, c.marks, c.excess.n, c.excess.inside, c.excess.outside, c.excess.p) for c in kept),
        f"Clusters of what the model sees, learnt on half of the rows without looking at errors and measured on the "
        f"other; of {tests} tested, those that hold together at level {level:g}.",
    )


def _pictures(kept: Sequence[_Cluster], data: Dataset) -> list[Artifact]:
    """Some rows of each cluster, where rows are pictures."""
    x = data.batch().x
    if not kept or not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] not in (1, 3):
        return []
    shown = [(cluster, row) for cluster in kept[:3] for row in cluster.members[:SHOWN]]
    pictures = [x[int(row)].expand(3, -1, -1).permute(1, 2, 0).clamp(0, 1) for _, row in shown]
    return [
        ImageGrid(
            "rows of these clusters",
            tuple(nested(picture.tolist()) for picture in pictures),
            tuple(f"{cluster.label}: {cluster.marks}" for cluster, _ in shown),
            columns=SHOWN,
        )
    ]
