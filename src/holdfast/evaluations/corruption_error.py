"""Errors under common corruptions, and one number for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.core.artifacts import Curve, Table
from holdfast.core.evaluation import Evaluation, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Split, TaskData
from holdfast.evaluations.scored import Level, ScoredRows, measured_splits, score, with_interval
from holdfast.perturbations.corruptions import COMMON, FAMILIES, SEVERITIES, Scale, check_names, corrupted_inputs
from holdfast.statistics import Interval, bootstrap, no_interval, rate_interval, weighted_mean
from holdfast.statistics.corruption_error import ALEXNET, ALEXNET_CLEAN, Errors, divisors, mce, relative_mce

ALL = "all corruptions"
MOST_LINES = 7


@register
@dataclass(frozen=True, kw_only=True)
class CorruptionError(Evaluation):
    """The error under each common corruption at each severity, their mean, and what the model loses under them.

    Hendrycks, Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR 2019,
    arXiv:1903.12261. Without a baseline the mean corruption error is the plain mean, as is usual for CIFAR-10-C, and
    the relative one the mean rise over the error of clean rows. With AlexNet's published errors it is the paper's mCE,
    of use for ImageNet alone; ``frost-synth``, whose ice is not the published one, has no published error and is left
    out of it, as are the corruptions that the paper keeps out of the mean.

    Rows are those of the first test split that is not shifted, otherwise of the first such selection split. The
    corruptions of a row depend on its id alone, so that all models see the same. Intervals are over rows.

    Attributes:
        names: The corruptions; by default the 15 of the benchmark.
        severities: From 1 to 5, each once.
        scale: Whose amounts: ``cifar`` for small images, ``imagenet`` for those of about 224 pixels.
        baseline: By whose errors those are divided: ``none``, or ``alexnet`` with the amounts of ImageNet-C.
        max_rows: So many rows are used at most, drawn at random.
        level: Of the intervals.
        corruption_seed: Fixes the rows and the randomness of the corruptions.
    """

    kinds = ("classification",)

    names: tuple[str, ...] = COMMON
    severities: Annotated[tuple[int, ...], Range(1, 5)] = SEVERITIES
    scale: Scale = "cifar"
    baseline: Literal["none", "alexnet"] = "none"
    max_rows: Annotated[int, Range(low=1)] = 1_000
    level: Level = 0.95
    corruption_seed: int = 0

    def __post_init__(self) -> None:
        for option, values in (("names", self.names), ("severities", self.severities)):
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{option}={list(values)}: name each once, one at least")
        check_names(self.names)
        if self.baseline == "alexnet" and (self.scale != "imagenet" or set(self.severities) != set(SEVERITIES)):
            raise ValueError("baseline=alexnet is known for ImageNet alone: add scale=imagenet and all severities")
        if self.baseline == "alexnet" and not set(self.names) & set(ALEXNET):
            raise ValueError(f"baseline=alexnet has no errors under {', '.join(self.names)}: name one of the paper's")

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        splits = [s for s in measured_splits(task, ("test",)) if not s.shifted]
        splits += [s for s in measured_splits(task, ("selection",)) if not s.shifted]
        if not splits:
            return Result((_missing("mean-corruption-error", "no test or selection split without shift to corrupt"),))
        split = self._drawn(splits[0])
        clean = score(predictor, split)
        wrong = {name: self._wrong(predictor, split, name) for name in self.names}
        scored = _Scored(clean, _is_wrong(clean), wrong, rng, self.level)
        return Result(
            tuple(self._measurements(scored)),
            (scored.table(self.severities), scored.curve(self.severities)),
        )

    def _drawn(self, split: Split) -> Split:
        """Some of the rows, the same ones for every model."""
        rng = torch_rng(self.corruption_seed, self.name, "rows")
        rows = torch.randperm(len(split.data), generator=rng)[: self.max_rows].sort()[0]
        return replace(split, data=split.data.take(rows))

    def _wrong(self, predictor: Predictor, split: Split, name: str) -> NDArray[np.float64]:
        """(S, N) which rows are wrong at each severity."""
        found = []
        for severity in self.severities:
            x = corrupted_inputs(
                split.data.x,
                name,
                severity,
                scale=self.scale,
                index=split.data.index,
                data_seed=self.corruption_seed,
            )
            found.append(_is_wrong(score(predictor, replace(split, data=replace(split.data, x=x)))))
        return np.stack(found)

    def _measurements(self, scored: _Scored) -> list[Measurement]:
        measured = [scored.measurement("clean-error", scored.clean)]
        measured += [scored.measurement("corruption-error", w.mean(0), group=name) for name, w in scored.wrong.items()]
        plain = scored.mean_over(list(scored.wrong))
        measured += [
            scored.measurement("mean-corruption-error", plain),
            scored.measurement("relative-mean-corruption-error", plain - scored.clean),
        ]
        return measured + (self._by_alexnet(scored) if self.baseline == "alexnet" else [])

    def _by_alexnet(self, scored: _Scored) -> list[Measurement]:
        names = [name for name in self.names if name in ALEXNET]
        left_out = [name for name in self.names if name not in ALEXNET]
        note = f"without {', '.join(left_out)}, which the baseline lacks" if left_out else ""
        errors: Errors = {name: scored.errors(name) for name in names}
        relative = relative_mce(errors, scored.error(scored.clean), ALEXNET, ALEXNET_CLEAN)
        found = []
        for metric, value, clean, alexnet_clean in (
            ("mce", mce(errors, ALEXNET), np.zeros_like(scored.clean), 0.0),
            ("relative-mce", relative, scored.clean, ALEXNET_CLEAN),
        ):
            lost = divisors(names, ALEXNET, alexnet_clean)
            rows = np.mean([(scored.wrong[name].mean(0) - clean) / lost[name] for name in names], axis=0)
            found.append(replace(scored.measurement(metric, rows), value=value, note=note))
        return found


@dataclass(frozen=True, eq=False)
class _Scored:
    """N rows, clean and corrupted.

    Attributes:
        rows: The clean rows with what the model says of them.
        clean: (N,) 1 where it is wrong, else 0.
        wrong: For each corruption the same at each severity, (S, N).
        rng: For intervals.
        level: Of the intervals.
    """

    rows: ScoredRows
    clean: NDArray[np.float64]
    wrong: Mapping[str, NDArray[np.float64]]
    rng: np.random.Generator
    level: float

    def error(self, values: NDArray[np.float64]) -> float:
        """Mean of (N,) under the rows' weights."""
        weight = np.ones(len(values)) if self.rows.weight is None else self.rows.weight
        return float(weighted_mean(values, weight))

    def errors(self, name: str) -> list[float]:
        """At each severity."""
        return [self.error(values) for values in self.wrong[name]]

    def mean_over(self, names: list[str]) -> NDArray[np.float64]:
        """(N,) mean over corruptions and severities."""
        return np.asarray(np.mean([self.wrong[name].mean(0) for name in names], axis=0))

    def measurement(self, metric: str, values: NDArray[np.float64], group: str | None = None) -> Measurement:
        """The mean of (N,), with its interval."""
        bare = Measurement(
            metric,
            self.error(values),
            self.rows.split,
            self.rows.n,
            unit="row" if self.rows.unit is None else "unit",
            group=group,
            higher_is_better=False,
        )
        return with_interval(bare, self._interval(values))

    def _interval(self, values: NDArray[np.float64]) -> Interval:
        weights, units = self.rows.weight, self.rows.unit
        if not self.rows.n:
            return no_interval(self.level, "no rows")
        if np.isin(values, (0.0, 1.0)).all():
            return rate_interval(values, rng=self.rng, weights=weights, units=units, level=self.level)
        return bootstrap(
            lambda w: weighted_mean(values, w),
            len(values),
            rng=self.rng,
            weights=weights,
            units=units,
            level=self.level,
            replicates=300,
        )

    def table(self, severities: tuple[int, ...]) -> Table:
        """A line for each corruption and severity."""
        lines: list[tuple[Any, ...]] = []
        for name, wrong in self.wrong.items():
            for severity, values in zip(severities, wrong, strict=True):
                interval = self._interval(values)
                bounds = ("" if bound is None else bound for bound in (interval.low, interval.high))
                lines.append((name, severity, self.rows.n, self.error(values), *bounds))
        columns = ("corruption", "severity", "n", "error", "low", "high")
        caption = f"On {self.rows.split}; intervals hold each by itself at level {self.level:g}."
        return Table("error under corruptions", columns, tuple(lines), caption)

    def curve(self, severities: tuple[int, ...]) -> Curve:
        """Error against severity, 0 for clean rows: of each corruption, or of each kind where there are many."""
        start, x = self.error(self.clean), (0.0, *map(float, sorted(severities)))
        order = np.argsort(severities)
        each = {name: np.array(self.errors(name))[order] for name in self.wrong}
        groups: dict[str, list[str]] = {name: [name] for name in each}
        if len(each) > MOST_LINES:
            groups = {kind: [name for name in each if name in names] for kind, names in FAMILIES.items()}
        series = {
            title: (x, (start, *np.mean([each[name] for name in names], axis=0).tolist()))
            for title, names in {ALL: list(each), **groups}.items()
            if names
        }
        return Curve("error against severity", series, "severity", "error", caption=f"On {self.rows.split}.")


def _is_wrong(rows: ScoredRows) -> NDArray[np.float64]:
    return np.asarray(rows.scores.argmax(1) != rows.y, dtype=np.float64)


def _missing(metric: str, why: str) -> Measurement:
    return Measurement(metric, math.nan, "test", 0, higher_is_better=False, note=why)
